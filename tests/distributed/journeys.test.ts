/** The same journeys under the distributed wiring: the four services as processes of their own over a real Kafka broker and Postgres. */
import { test } from '@jest/globals';
import { startTestBroker, whyNoBroker } from '../../events/bus/kafka/testing/brokers-for-tests.js';
import { KAFKA_4_VERSION } from '../../platform/kafka/dev-broker.js';
import { describeHuntJourney } from '../journeys/hunt.js';
import { describeHuruJourney } from '../journeys/huru.js';
import { describeNewcomerJourney } from '../journeys/newcomer.js';
import type { CreateDeployment } from '../support/deployment.js';
import { createDistributedDeployment } from '../support/distributed-deployment.js';

/** Each with a broker of its own, which ends with it. */
const create: CreateDeployment = async (options) => {
  const broker = await startTestBroker(KAFKA_4_VERSION);
  const deployment = await createDistributedDeployment({ ...options, broker });
  const dispose = deployment.dispose.bind(deployment);
  deployment.dispose = async () => {
    await dispose();
    await broker.dispose();
  };
  return deployment;
};

const reason = await whyNoBroker();
if (reason !== null) {
  process.stderr.write(`\nTHE DISTRIBUTED JOURNEYS ARE SKIPPED: ${reason}.\n\n`);
  // biome-ignore lint/suspicious/noSkippedTests: said aloud above, and only where no broker can be had.
  test.skip(`the distributed deployment is not tested here: ${reason}`, () => {});
} else {
  describeNewcomerJourney('distributed', create);
  describeHuntJourney('distributed', create);
  describeHuruJourney('distributed', create);
}
