/** The journeys under the embedded wiring: `farebox start` with its own Postgres, as `npm start` runs it. */
import { createEmbeddedDeployment } from '../support/embedded-deployment.js';
import { describeHuntJourney } from './hunt.js';
import { describeHuruJourney } from './huru.js';
import { describeNewcomerJourney } from './newcomer.js';

describeNewcomerJourney('embedded', createEmbeddedDeployment);
describeHuntJourney('embedded', createEmbeddedDeployment);
describeHuruJourney('embedded', createEmbeddedDeployment);
