/**
 * Every topic that Farebox uses on Kafka, and the command that makes them. Brokers must not make topics by themselves
 * (`auto.create.topics.enable=false`): a topic that appears by accident has one partition and the wrong retention.
 *
 * No topic is compacted. Compaction keeps a key's last message only, and every message here is a fact of its own: an account's events, the
 * deltas of a run. What must outlive its retention is in the event store.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Admin, ITopicConfig } from 'kafkajs';
import type { Logger } from 'pino';
import {
  ACCOUNT_EVENTS_TOPIC,
  RUN_RESULTS_TOPIC,
  repliesTopic,
  runControlTopic,
  runRequestsTopic,
  WORKERS_TOPIC,
} from '../../contract/topics.js';
import { connectionGate } from './connection-gate.js';
import { type KafkaSettings, kafkaClient } from './kafka-settings.js';

export type TopicPlan = {
  readonly topic: string;
  /** Members of a group that can share the topic. Fixed for good: another number sends keys to other partitions, out of step with what waits there. */
  readonly partitions: number;
  readonly retentionMs: number;
};

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Divisible among 2, 3, 4, 6 or 12 members, and still cheap on a single broker. */
const SHARED_PARTITIONS = 12;

/** Longer than an outage over a long weekend: an unread result leaves a customer's money held until the hold expires. */
const RESULTS_RETENTION_MS = 7 * DAY_MS;
/** As long as the offsets of a group without members live by default. A projector that was away for longer is rebuilt from the store. */
const ACCOUNT_EVENTS_RETENTION_MS = 7 * DAY_MS;
/** A run whose deadline has passed is refused by whoever reads it, so nobody needs its messages for longer. */
const RUN_RETENTION_MS = HOUR_MS;

/** Retention applies to segments that are closed, so a topic of short retention closes them sooner. */
const SEGMENTS_PER_RETENTION = 6;

/** The topics that exist once for a deployment, with those of its inference pools. */
export function topicPlans(pools: readonly string[]): readonly TopicPlan[] {
  return [
    { topic: ACCOUNT_EVENTS_TOPIC, partitions: SHARED_PARTITIONS, retentionMs: ACCOUNT_EVENTS_RETENTION_MS },
    { topic: RUN_RESULTS_TOPIC, partitions: SHARED_PARTITIONS, retentionMs: RESULTS_RETENTION_MS },
    // Signs of life, of use for seconds, read in full by every API instance.
    { topic: WORKERS_TOPIC, partitions: 1, retentionMs: RUN_RETENTION_MS },
    ...pools.flatMap((pool) => [
      { topic: runRequestsTopic(pool), partitions: SHARED_PARTITIONS, retentionMs: RUN_RETENTION_MS },
      // Few and small, and read by every worker in full.
      { topic: runControlTopic(pool), partitions: 1, retentionMs: RUN_RETENTION_MS },
    ]),
  ];
}

/** One API instance's own topic, which it makes when it starts. One partition: it has one reader, and order over runs costs nothing. */
export function repliesTopicPlan(instanceId: string): TopicPlan {
  return { topic: repliesTopic(instanceId), partitions: 1, retentionMs: RUN_RETENTION_MS };
}

export type TopicOutcome = {
  readonly topic: string;
  /** `partitions_differ`: it was there with another number of partitions, and was left alone. */
  readonly outcome: 'created' | 'present' | 'partitions_differ';
  readonly partitions: number;
};

export type CreateTopicsOptions = {
  readonly settings: KafkaSettings;
  readonly plans: readonly TopicPlan[];
  readonly logger: Logger;
  /** Copies of each partition; the brokers' own default when left out. */
  readonly replicationFactor?: number;
};

const BROKER_DEFAULT = -1;
/** With three copies or more, a message counts as accepted when two have it: one broker may be down, and one may be lost. */
const COPIES_FOR_TWO_IN_SYNC = 3;
const CREATE_TIMEOUT_MS = 15_000;
const LEADER_RECHECK_MS = 50;
/** Each may take as long as the client's request timeout. */
const ENSURE_TRIES_MAX = 5;

/** Makes what is missing and leaves the rest as it is; may be repeated, and run by several at once. Rejects when the cluster refuses. */
export async function createTopics(options: CreateTopicsOptions): Promise<readonly TopicOutcome[]> {
  return withAdmin(options, async (admin) => {
    const known = new Set(await admin.listTopics());
    const missing = options.plans.filter((plan) => !known.has(plan.topic));
    const created = new Set<string>();
    for (const plan of missing) {
      if (await create(admin, plan, options.replicationFactor ?? BROKER_DEFAULT)) created.add(plan.topic);
    }
    const partitionsOf = await waitForLeaders(
      admin,
      options.plans.map((plan) => plan.topic),
    );
    return options.plans.map(({ topic, partitions: planned }) => {
      const partitions = partitionsOf.get(topic) ?? planned;
      if (created.has(topic)) return { topic, outcome: 'created', partitions };
      return { topic, outcome: partitions === planned ? 'present' : 'partitions_differ', partitions };
    });
  });
}

/** Makes one topic unless it is there. A broker that answers late, as right after its start, is asked again. */
export async function ensureTopic(options: Omit<CreateTopicsOptions, 'plans'> & { readonly plan: TopicPlan }): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await createTopics({ ...options, plans: [options.plan] });
      return;
    } catch (error) {
      if ((error as { retriable?: boolean }).retriable !== true || tries === ENSURE_TRIES_MAX) throw error;
      options.logger.warn({ err: error, topic: options.plan.topic }, 'the broker answers late; asking again');
    }
  }
}

/** Removes a topic, such as that of an API instance that does not come back. Does nothing when there is none. */
export async function removeTopic(options: Pick<CreateTopicsOptions, 'settings' | 'logger'> & { readonly topic: string }): Promise<void> {
  await withAdmin(options, async (admin) => {
    if ((await admin.listTopics()).includes(options.topic))
      await admin.deleteTopics({ topics: [options.topic], timeout: CREATE_TIMEOUT_MS });
  });
}

/** A new topic takes a moment to be known to every broker and to have leaders, which the client's own wait takes for an error. */
async function waitForLeaders(admin: Admin, names: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const deadlineMs = performance.now() + CREATE_TIMEOUT_MS;
  for (;;) {
    try {
      const { topics } = await admin.fetchTopicMetadata({ topics: [...names] });
      const isLed = topics.every((topic) => topic.partitions.length > 0 && topic.partitions.every((partition) => partition.leader >= 0));
      if (isLed) return new Map(topics.map((topic) => [topic.name, topic.partitions.length]));
      if (performance.now() > deadlineMs) throw new Error(`topics ${names.join(', ')} have no leaders after ${CREATE_TIMEOUT_MS} ms`);
    } catch (error) {
      const { type } = error as { type?: string };
      if (type !== 'UNKNOWN_TOPIC_OR_PARTITION' && type !== 'LEADER_NOT_AVAILABLE') throw error;
      if (performance.now() > deadlineMs) throw error;
    }
    await delay(LEADER_RECHECK_MS);
  }
}

async function create(admin: Admin, plan: TopicPlan, replicationFactor: number): Promise<boolean> {
  const { topic, partitions: numPartitions, retentionMs } = plan;
  const configEntries = [
    { name: 'cleanup.policy', value: 'delete' },
    { name: 'retention.ms', value: String(retentionMs) },
    { name: 'segment.ms', value: String(retentionMs / SEGMENTS_PER_RETENTION) },
  ];
  if (replicationFactor >= COPIES_FOR_TWO_IN_SYNC) configEntries.push({ name: 'min.insync.replicas', value: '2' });
  const config: ITopicConfig = { topic, numPartitions, replicationFactor, configEntries };
  try {
    return await admin.createTopics({ topics: [config], waitForLeaders: false, timeout: CREATE_TIMEOUT_MS });
  } catch (error) {
    // The answer proper is inside; one topic has one.
    throw (error as { errors?: readonly unknown[] }).errors?.[0] ?? error;
  }
}

async function withAdmin<Result>(
  { settings, logger }: Pick<CreateTopicsOptions, 'settings' | 'logger'>,
  work: (admin: Admin) => Promise<Result>,
): Promise<Result> {
  const gate = connectionGate();
  const admin = kafkaClient(settings, gate, logger).admin();
  try {
    await admin.connect();
    return await work(admin);
  } finally {
    await admin.disconnect().catch(() => {});
    gate.cut();
  }
}
