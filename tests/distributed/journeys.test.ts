/**
 * The same journeys under the distributed wiring: the four services as processes of their own over a real Kafka broker and Postgres; and with
 * the log in an EventStoreDB, for which the double of the server stands in.
 */
import { describeWithBroker, startTestBroker } from '../../events/bus/kafka/testing/brokers-for-tests.js';
import { startEventStoreDouble } from '../../events/store/eventstoredb/testing/double/event-store-double.js';
import { KAFKA_4_VERSION } from '../../platform/kafka/dev-broker.js';
import { describeHuntConformance } from '../conformance/hunt.js';
import { describeHuruConformance } from '../conformance/huru.js';
import { describeNewcomerJourney } from '../journeys/newcomer.js';
import type { CreateDeployment, Deployment } from '../support/deployment.js';
import { createDistributedDeployment } from '../support/distributed-deployment.js';

/** What a deployment was given ends with it. */
function endingWith(deployment: Deployment, ...releases: (() => Promise<unknown>)[]): Deployment {
  const dispose = deployment.dispose.bind(deployment);
  deployment.dispose = async () => {
    await dispose();
    for (const release of releases) await release();
  };
  return deployment;
}

const create: CreateDeployment = async (options) => {
  const broker = await startTestBroker(KAFKA_4_VERSION);
  return endingWith(await createDistributedDeployment({ ...options, broker }), () => broker.dispose());
};

const createOnEventStoreDb: CreateDeployment = async (options) => {
  const broker = await startTestBroker(KAFKA_4_VERSION);
  const double = await startEventStoreDouble();
  const deployment = await createDistributedDeployment({ ...options, broker, eventStoreDbUrl: double.connectionString });
  return endingWith(
    deployment,
    () => broker.dispose(),
    () => double.stop(),
  );
};

await describeWithBroker('the distributed journeys', () => {
  describeNewcomerJourney('distributed', create);
  describeHuntConformance('distributed', create);
  describeHuruConformance('distributed', create);
  describeNewcomerJourney('distributed on EventStoreDB', createOnEventStoreDb);
});
