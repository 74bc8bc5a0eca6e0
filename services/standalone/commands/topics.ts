/** `farebox topics create`: makes every topic of the distributed deployment that is not there yet, with its partitions and retention. */
import { z } from 'zod';
import { kafkaSettingsFromEnvironment } from '../../../events/bus/kafka/kafka-bus.js';
import { createTopics, topicPlans } from '../../../events/bus/kafka/topics.js';
import { DEFAULT_POOL } from '../../../events/contract/index.js';
import { createLogger } from '../../../platform/logging.js';
import { integerText, readEnvironment, SERVER_SETTINGS, setting } from '../../../platform/settings.js';

const SettingsSchema = z.object({
  ...SERVER_SETTINGS,
  /** The pools that workers serve, separated by commas. */
  FAREBOX_POOLS: setting(z.string().default(DEFAULT_POOL)),
  /** Copies of each partition; the brokers' default when unset. */
  KAFKA_REPLICATION_FACTOR: setting(integerText(1, 10).optional()),
});

/** Exit code when a topic is there with another number of partitions. */
const EXIT_DIFFERENT = 3;

export async function createAllTopics(environment: NodeJS.ProcessEnv): Promise<number> {
  const {
    FAREBOX_POOLS: pools,
    KAFKA_REPLICATION_FACTOR: replicationFactor,
    LOG_LEVEL: level,
  } = readEnvironment(SettingsSchema, environment);
  const plans = topicPlans(pools.split(',').map((pool) => pool.trim()));
  const outcomes = await createTopics({
    settings: kafkaSettingsFromEnvironment(environment, 'farebox-topics'),
    plans,
    logger: createLogger({ level, name: 'farebox' }),
    ...(replicationFactor === undefined ? {} : { replicationFactor }),
  });
  for (const { topic, outcome, partitions } of outcomes) {
    const { retentionMs, partitions: planned } = plans.find((plan) => plan.topic === topic) ?? { retentionMs: 0, partitions: 0 };
    const note = outcome === 'partitions_differ' ? `, ${planned} expected: left alone, since keys would change partitions` : '';
    process.stdout.write(`${topic}: ${outcome}, ${partitions} partitions, kept ${retentionMs / 3_600_000} h${note}\n`);
  }
  return outcomes.some(({ outcome }) => outcome === 'partitions_differ') ? EXIT_DIFFERENT : 0;
}
