/** The Huru document under the embedded wiring. */
import { createEmbeddedDeployment } from '../support/embedded-deployment.js';
import { describeHuruConformance } from './huru.js';

describeHuruConformance('embedded', createEmbeddedDeployment);
