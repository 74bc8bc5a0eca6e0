/** The newcomer's journey under the embedded wiring: `farebox start` with its own Postgres, as `npm start` runs it. */
import { createEmbeddedDeployment } from '../support/embedded-deployment.js';
import { describeNewcomerJourney } from './newcomer.js';

describeNewcomerJourney('embedded', createEmbeddedDeployment);
