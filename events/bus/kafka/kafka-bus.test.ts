/** The Kafka bus keeps the contract against real brokers, and survives what is done to them: stopped, killed, frozen, started again. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { SecuredListener } from '../../../platform/kafka/dev-broker.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { BusFullError, type Message, UnknownTopicError } from '../message-bus.js';
import { describeMessageBusContract } from '../message-bus-contract.js';
import { createKafkaBus, type KafkaBus, type KafkaBusOptions, PublicationUnknownError } from './kafka-bus.js';
import { type KafkaSettings, SASL_MECHANISMS } from './kafka-settings.js';
import { CREDENTIALS, describeWithBroker, KAFKA_VERSIONS, silent, startTestBroker, type TestBroker } from './testing/brokers-for-tests.js';
import { createTopics, ensureTopic, removeTopic, topicPlans } from './topics.js';

const PARTITIONS = 3;
/** Recovery of client and broker together; a Java broker starts slowly where cores are shared. */
const RECOVERY_MS_MAX = 60_000;

await describeWithBroker('the Kafka bus', () => {
  for (const version of KAFKA_VERSIONS) describeOnBroker(version);
  if (KAFKA_VERSIONS.length > 0) return;
  const brokers = (process.env['KAFKA_BROKERS'] as string).split(',');
  describeMessageBusContract('the Kafka bus on the given cluster', () => busUnderTest(brokers));
});

const settingsFor = (brokers: readonly string[]) => ({ brokers, clientId: 'farebox-tests' });

async function newTopic(brokers: readonly string[], partitions = PARTITIONS): Promise<string> {
  const topic = `test.${randomUUID()}`;
  await ensureTopic({ settings: settingsFor(brokers), logger: silent, plan: { topic, partitions, retentionMs: 3_600_000 } });
  return topic;
}

async function busUnderTest(brokers: readonly string[]) {
  const bus = createKafkaBus({ settings: settingsFor(brokers), logger: silent });
  return { bus, newTopic: () => newTopic(brokers), dispose: () => bus.close() };
}

const message = (n: number, key = 'k'): Message => ({ key, type: 'Counted', headers: {}, value: { n } });
const numbersOf = (batch: readonly Message[]) => batch.map((one) => one.value['n'] as number);

function describeOnBroker(version: string): void {
  describe(`Kafka ${version}`, () => {
    let broker: TestBroker;
    const disposals: (() => Promise<void>)[] = [];

    beforeAll(async () => {
      broker = await startTestBroker(version);
    }, 600_000);
    afterEach(async () => {
      for (const dispose of disposals.splice(0).reverse()) await dispose();
    });
    afterAll(() => broker?.dispose());

    const openBus = (options: Partial<KafkaBusOptions> = {}): KafkaBus => {
      const bus = createKafkaBus({ settings: settingsFor(broker.brokers), logger: silent, ...options });
      disposals.push(() => bus.close());
      return bus;
    };

    describeMessageBusContract('the Kafka bus', () => busUnderTest(broker.brokers));

    test('a group resumes where its last member committed', async () => {
      const topic = await newTopic(broker.brokers);
      const seen: number[] = [];
      const onMessages = (batch: readonly Message[]) => void seen.push(...numbersOf(batch));
      const first = openBus();
      await first.subscribe({ topic, group: 'g', onMessages });
      await first.publish(topic, [message(1), message(2)]);
      await waitFor(() => seen.length === 2, { describe: 'the first messages' });
      await first.close();
      const second = openBus();
      await second.publish(topic, [message(3)]);
      await second.subscribe({ topic, group: 'g', onMessages });
      await waitFor(() => seen.length === 3, { describe: 'the message of the meantime' });
      expect(seen).toEqual([1, 2, 3]);
    });

    test('a new group begins behind what was published before it, and misses nothing after', async () => {
      const topic = await newTopic(broker.brokers);
      const bus = openBus();
      await bus.publish(topic, [message(1, 'a'), message(1, 'b'), message(1, 'c')]);
      const groups = Array.from({ length: 4 }, () => [] as number[]);
      await Promise.all(
        groups.map(async (seen, index) => {
          // Two members each, who begin at once and must not set each other's offsets.
          const onMessages = (batch: readonly Message[]) => void seen.push(...numbersOf(batch));
          const group = `g${index % 2}`;
          await bus.subscribe({ topic, group, onMessages });
          await bus.publish(topic, [message(10 + index, 'd')]);
        }),
      );
      const ofGroup = (index: number) => [...(groups[index] as number[]), ...(groups[index + 2] as number[])];
      await waitFor(() => [0, 1].every((group) => [10 + group, 12 + group].every((n) => ofGroup(group).includes(n))), {
        describe: () => `each group's messages; there are ${JSON.stringify(groups)}`,
      });
      expect(groups.flat()).not.toContain(1);
    });

    test('a topic that does not exist is refused at once, and others are published to meanwhile', async () => {
      const topic = await newTopic(broker.brokers);
      const bus = openBus();
      const missing = `test.missing.${randomUUID()}`;
      const [refused, accepted] = await Promise.allSettled([bus.publish(missing, [message(1)]), bus.publish(topic, [message(1)])]);
      expect(refused).toMatchObject({ status: 'rejected', reason: expect.any(UnknownTopicError) });
      expect(accepted.status).toBe('fulfilled');
    });

    test('a topic that is removed stops nobody else', async () => {
      const [gone, kept] = [await newTopic(broker.brokers), await newTopic(broker.brokers)];
      const bus = openBus();
      await Promise.all([bus.publish(gone, [message(1)]), bus.publish(kept, [message(1)])]);
      await removeTopic({ settings: settingsFor(broker.brokers), logger: silent, topic: gone });
      await expect(bus.publish(gone, [message(2)])).rejects.toThrow();
      await bus.publish(kept, [message(2)]);
    });

    test('a publication larger than a request arrives whole and in order; a message larger than the broker takes is refused alone', async () => {
      const topic = await newTopic(broker.brokers, 1);
      const bus = openBus();
      const seen: number[] = [];
      await bus.subscribe({ topic, group: 'g', onMessages: (batch) => void seen.push(...numbersOf(batch)) });
      const large = (n: number, bytes: number): Message => ({ ...message(n), value: { n, text: 'x'.repeat(bytes) } });
      const publications = [
        bus.publish(topic, [message(0)]),
        bus.publish(topic, [large(-1, 3_000_000)]),
        bus.publish(
          topic,
          Array.from({ length: 30 }, (_, index) => large(index + 1, 100_000)),
        ),
      ];
      const outcomes = await Promise.allSettled(publications);
      expect(outcomes.map((outcome) => outcome.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
      await waitFor(() => seen.includes(30), { describe: 'the last message' });
      expect([...new Set(seen)]).toEqual(Array.from({ length: 31 }, (_, n) => n));
    });

    test('what waits is bounded: more is refused as full', async () => {
      const topic = await newTopic(broker.brokers);
      const bus = openBus({ waitingBytesMax: 10_000 });
      const large = { ...message(1), value: { text: 'x'.repeat(6_000) } };
      const [first, second] = await Promise.allSettled([bus.publish(topic, [large]), bus.publish(topic, [large])]);
      expect(first.status).toBe('fulfilled');
      expect(second).toMatchObject({ status: 'rejected', reason: expect.any(BusFullError) });
      await bus.publish(topic, [large]);
      expect(bus.waitingMessages).toBe(0);
    });

    test('topics are made once, with what was planned', async () => {
      const options = { settings: settingsFor(broker.brokers), logger: silent, plans: topicPlans([`pool-${randomUUID()}`]) };
      const [made, again] = [await createTopics(options), await createTopics(options)];
      expect(made.map((topic) => topic.outcome)).toContain('created');
      expect(again.map((topic) => topic.outcome)).toEqual(again.map(() => 'present'));
      expect(again.map((topic) => topic.partitions)).toEqual(options.plans.map((plan) => plan.partitions));
    });

    test.each(SASL_MECHANISMS)(
      'a cluster behind TLS and %s is published to and read; a wrong password or authority is not let in',
      async (mechanism) => {
        const topic = await newTopic(broker.brokers);
        const { brokers, certificate } = broker.secured as SecuredListener;
        const sasl = { mechanism, ...CREDENTIALS };
        const settings: KafkaSettings = { ...settingsFor(brokers), tls: { ca: certificate }, sasl };
        const bus = openBus({ settings });
        const seen: number[] = [];
        await bus.subscribe({ topic, group: 'g', onMessages: (batch) => void seen.push(...numbersOf(batch)) });
        await bus.publish(topic, [message(1)]);
        await waitFor(() => seen.length === 1, { describe: 'the message' });
        expect(await bus.isReady()).toBe(true);
        const unknownAuthority: KafkaSettings = { ...settings, tls: true };
        const wrongPassword: KafkaSettings = { ...settings, sasl: { ...sasl, password: 'wrong' } };
        for (const [name, wrong] of Object.entries({ unknownAuthority, wrongPassword })) {
          const refused = openBus({ settings: wrong, publishTimeoutMs: 1_000 });
          expect([name, await refused.isReady()]).toEqual([name, false]);
          await expect(refused.publish(topic, [message(2)])).rejects.toBeInstanceOf(PublicationUnknownError);
        }
      },
    );

    test('a broker stopped, killed and started again under load loses nothing that was accepted, and keeps each key in order', async () => {
      const topic = await newTopic(broker.brokers);
      const bus = openBus({ publishTimeoutMs: RECOVERY_MS_MAX });
      const seen = new Map<string, number[]>();
      await bus.subscribe({
        topic,
        group: 'g',
        onMessages: (batch) => {
          for (const one of batch) seen.set(one.key, [...(seen.get(one.key) ?? []), one.value['n'] as number]);
        },
      });
      expect(await bus.isReady()).toBe(true);
      let isLoading = true;
      const accepted = new Map<string, number>();
      const load = async (key: string) => {
        for (let n = 0; isLoading; n += 1) {
          await bus.publish(topic, [message(n, key)]);
          accepted.set(key, n);
        }
      };
      const keys = ['a', 'b', 'c', 'd', 'e', 'f'];
      const loads = Promise.all(keys.map(load));
      const progress = async (round: string) => {
        const from = Math.max(0, ...accepted.values());
        await waitFor(() => keys.every((key) => (accepted.get(key) ?? 0) > from + 20), { describe: round, timeoutMs: RECOVERY_MS_MAX });
      };
      await progress('load before');
      for (const end of [() => broker.stop(), () => broker.kill()]) {
        await end();
        await waitFor(async () => !(await bus.isReady()), { describe: 'the bus to say that it is not ready' });
        await broker.start();
        await waitFor(() => bus.isReady(), { describe: 'the bus to be ready again', timeoutMs: RECOVERY_MS_MAX });
        await progress('load after a restart');
      }
      isLoading = false;
      await loads;
      await waitFor(() => keys.every((key) => seen.get(key)?.includes(accepted.get(key) as number)), {
        describe: 'the last message of each key',
        timeoutMs: RECOVERY_MS_MAX,
      });
      for (const key of keys) {
        const numbers = seen.get(key) as number[];
        const firsts = numbers.filter((n, index) => numbers.indexOf(n) === index);
        expect(firsts).toEqual(Array.from({ length: (accepted.get(key) as number) + 1 }, (_, n) => n));
      }
    }, 180_000);

    test('a frozen broker: publishing is refused within its bound, readiness says no, and both come back', async () => {
      const topic = await newTopic(broker.brokers);
      const publishTimeoutMs = 2_000;
      const bus = openBus({ publishTimeoutMs });
      const seen: number[] = [];
      await bus.subscribe({ topic, group: 'g', onMessages: (batch) => void seen.push(...numbersOf(batch)) });
      await bus.publish(topic, [message(1)]);
      await broker.freeze();
      try {
        const startedMs = performance.now();
        await expect(bus.publish(topic, [message(2)])).rejects.toBeInstanceOf(PublicationUnknownError);
        expect(performance.now() - startedMs).toBeLessThan(publishTimeoutMs + 1_000);
        await waitFor(async () => !(await bus.isReady()), { describe: 'the bus to say that it is not ready' });
      } finally {
        broker.thaw();
      }
      await waitFor(() => bus.isReady(), { describe: 'the bus to be ready again', timeoutMs: RECOVERY_MS_MAX });
      await waitFor(
        () =>
          bus.publish(topic, [message(3)]).then(
            () => true,
            () => false,
          ),
        {
          describe: 'a publication to be accepted',
          timeoutMs: RECOVERY_MS_MAX,
        },
      );
      await waitFor(() => seen.includes(3), { describe: 'the message after the frost', timeoutMs: RECOVERY_MS_MAX });
    }, 180_000);
  });
}
