/** The Hunt document under the embedded wiring. */
import { createEmbeddedDeployment } from '../support/embedded-deployment.js';
import { describeHuntConformance } from './hunt.js';

describeHuntConformance('embedded', createEmbeddedDeployment);
