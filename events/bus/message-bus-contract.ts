/** What every MessageBus must do, whatever carries the messages. Adapters call this from a test file of their own. */
import { afterEach, describe, expect, test } from '@jest/globals';
import { waitFor } from '../../platform/testing/wait-for.js';
import { BusFullError, type Message, type MessageBus, type SubscribeOptions } from './message-bus.js';

export type BusUnderTest = {
  readonly bus: MessageBus;
  /** A topic that nobody else uses, ready to be published to. */
  newTopic(): Promise<string>;
  /** A topic whose groups each hold so many messages at most. Left out by a bus that keeps messages on disk and has no such bound. */
  readonly newBoundedTopic?: (queueMax: number) => Promise<string>;
  readonly dispose: () => Promise<void>;
};

const message = (key: string, n: number): Message => ({ key, type: 'Counted', headers: { n: String(n) }, value: { n, text: 'é✓' } });
const numberOf = (received: Message) => (received.value as { n: number }).n;

export function describeMessageBusContract(name: string, makeBus: () => Promise<BusUnderTest>): void {
  describe(`${name} keeps the MessageBus contract`, () => {
    const disposals: (() => Promise<void>)[] = [];
    afterEach(async () => {
      for (const dispose of disposals.splice(0).reverse()) await dispose();
    });

    async function setUp() {
      const underTest = await makeBus();
      disposals.push(underTest.dispose);
      const { bus, newBoundedTopic } = underTest;
      const topic = await underTest.newTopic();
      const subscribe = async (overrides: Partial<SubscribeOptions> & Pick<SubscribeOptions, 'onMessages'>) => {
        const subscription = await bus.subscribe({ topic, group: 'group', ...overrides });
        disposals.push(() => subscription.stop());
        return subscription;
      };
      return { bus, topic, subscribe, newBoundedTopic };
    }

    /** A handler's way to wait for the test. */
    const gate = () => {
      let open: () => void = () => {};
      const opened = new Promise<void>((resolve) => {
        open = resolve;
      });
      return { opened, open };
    };

    const collect = () => {
      const received: Message[] = [];
      return { received, onMessages: (batch: readonly Message[]) => void received.push(...batch) };
    };

    test('a message arrives whole', async () => {
      const { bus, topic, subscribe } = await setUp();
      const { received, onMessages } = collect();
      await subscribe({ onMessages });
      await bus.publish(topic, [message('k', 7)]);
      await waitFor(() => received.length === 1, { describe: 'the message' });
      expect(received[0]).toMatchObject(message('k', 7));
    });

    test('messages of one key arrive in the order they were published', async () => {
      const { bus, topic, subscribe } = await setUp();
      const { received, onMessages } = collect();
      await subscribe({ onMessages, batchMax: 7 });
      for (let n = 0; n < 300; n += 3) await bus.publish(topic, [message('a', n), message('b', n + 1), message('a', n + 2)]);
      await waitFor(() => received.length === 300, { describe: 'all messages' });
      const ofKey = (key: string) => received.filter((one) => one.key === key).map(numberOf);
      for (const key of ['a', 'b']) expect(ofKey(key)).toEqual([...ofKey(key)].sort((left, right) => left - right));
    });

    test('a batch is never larger than asked for', async () => {
      const { bus, topic, subscribe } = await setUp();
      const sizes: number[] = [];
      await subscribe({ batchMax: 7, onMessages: (batch) => void sizes.push(batch.length) });
      await bus.publish(
        topic,
        Array.from({ length: 40 }, (_, n) => message('k', n)),
      );
      await waitFor(() => sizes.reduce((total, size) => total + size, 0) === 40, { describe: 'all messages' });
      expect(Math.max(...sizes)).toBeLessThanOrEqual(7);
    });

    test('a batch whose handler failed is delivered again, before anything newer of its keys', async () => {
      const { bus, topic, subscribe } = await setUp();
      const seen: number[] = [];
      let failures = 3;
      const errors: unknown[] = [];
      await subscribe({
        batchMax: 2,
        onError: (error) => errors.push(error),
        onMessages: async (batch) => {
          if (batch.some((one) => numberOf(one) === 3) && failures > 0) {
            failures -= 1;
            throw new Error('not yet');
          }
          seen.push(...batch.map(numberOf));
        },
      });
      for (let n = 0; n < 10; n += 1) await bus.publish(topic, [message('k', n)]);
      await waitFor(() => seen.includes(9), { describe: 'the last message' });
      const firstSeen = seen.filter((n, index) => seen.indexOf(n) === index);
      expect(firstSeen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      expect(failures).toBe(0);
      expect(errors.length).toBeGreaterThanOrEqual(3);
    });

    test('poison is reported after its attempts and passed over', async () => {
      const { bus, topic, subscribe } = await setUp();
      const { received, onMessages } = collect();
      const poison: Message[] = [];
      let deliveries = 0;
      await subscribe({
        batchMax: 1,
        attemptsMax: 3,
        onPoison: (messages) => poison.push(...messages),
        onMessages: (batch) => {
          if (numberOf(batch[0] as Message) === 1) {
            deliveries += 1;
            throw new Error('poison');
          }
          onMessages(batch);
        },
      });
      await bus.publish(topic, [message('k', 1), message('k', 2)]);
      await waitFor(() => received.length === 1, { describe: 'the message after the poison' });
      expect([deliveries, poison.map(numberOf), received.map(numberOf)]).toEqual([3, [1], [2]]);
    });

    test('every group sees every message, and the members of one group share them', async () => {
      const { bus, topic, subscribe } = await setUp();
      const [one, other, audit] = [collect(), collect(), collect()];
      await subscribe({ group: 'shared', onMessages: one.onMessages });
      await subscribe({ group: 'shared', onMessages: other.onMessages });
      await subscribe({ group: 'audit', onMessages: audit.onMessages });
      await bus.publish(
        topic,
        Array.from({ length: 50 }, (_, n) => message(`k${n}`, n)),
      );
      await waitFor(() => audit.received.length >= 50 && one.received.length + other.received.length >= 50, { describe: 'both groups' });
      const shared = [...one.received, ...other.received].map(numberOf);
      expect(new Set(shared).size).toBe(50);
      expect(shared).toHaveLength(50);
    });

    test('two members of a group never handle one key at once, and its order outlives their coming and going', async () => {
      const { bus, topic, subscribe } = await setUp();
      const handling = new Set<string>();
      const clashes: string[] = [];
      const seen = new Map<string, number[]>();
      const onMessages = async (batch: readonly Message[]) => {
        const keys = new Set(batch.map((one) => one.key));
        for (const key of keys) if (handling.has(key)) clashes.push(key);
        for (const key of keys) handling.add(key);
        await new Promise((resolve) => setImmediate(resolve));
        for (const one of batch) seen.set(one.key, [...(seen.get(one.key) ?? []), numberOf(one)]);
        for (const key of keys) handling.delete(key);
      };
      const first = await subscribe({ onMessages, batchMax: 5 });
      let n = 0;
      const publishSome = async () => {
        for (let round = 0; round < 20; round += 1) {
          await bus.publish(
            topic,
            Array.from({ length: 8 }, (_, key) => message(`key-${key}`, n)),
          );
          n += 1;
        }
      };
      await publishSome();
      await subscribe({ onMessages, batchMax: 5 });
      await publishSome();
      await first.stop();
      await publishSome();
      const expected = Array.from({ length: n }, (_, index) => index);
      await waitFor(() => [...seen.values()].filter((numbers) => numbers.includes(n - 1)).length === 8, {
        describe: 'the last of each key',
      });
      expect(clashes).toEqual([]);
      for (const numbers of seen.values()) expect(numbers.filter((number, index) => numbers.indexOf(number) === index)).toEqual(expected);
    });

    test('what a stopped member had not handled goes to the next member of its group', async () => {
      const { bus, topic, subscribe } = await setUp();
      const first = await subscribe({ batchMax: 1, onMessages: () => Promise.reject(new Error('cannot')) });
      await bus.publish(topic, [message('k', 1), message('k', 2)]);
      const { received, onMessages } = collect();
      await first.stop();
      await subscribe({ onMessages });
      await waitFor(() => received.length >= 2, { describe: 'the messages left behind' });
      expect(received.map(numberOf)).toEqual([1, 2]);
    });

    test('a handler never runs twice at once, and stop waits for it', async () => {
      const { bus, topic, subscribe } = await setUp();
      let running = 0;
      let most = 0;
      const { opened, open } = gate();
      const subscription = await subscribe({
        onMessages: async () => {
          running += 1;
          most = Math.max(most, running);
          await opened;
          running -= 1;
        },
      });
      await bus.publish(topic, [message('k', 1)]);
      await waitFor(() => running === 1, { describe: 'the handler' });
      await bus.publish(topic, [message('k', 2)]);
      const stopped = subscription.stop().then(() => running);
      open();
      expect(await stopped).toBe(0);
      expect(most).toBe(1);
    });

    test('a stopped subscription takes nothing more', async () => {
      const { bus, topic, subscribe } = await setUp();
      const [stopped, witness] = [collect(), collect()];
      const subscription = await subscribe({ group: 'stopped', onMessages: stopped.onMessages });
      await subscribe({ group: 'witness', onMessages: witness.onMessages });
      await bus.publish(topic, [message('k', 1)]);
      await waitFor(() => stopped.received.length === 1 && witness.received.length === 1, { describe: 'the first message' });
      await subscription.stop();
      await bus.publish(topic, [message('k', 2)]);
      await waitFor(() => witness.received.length === 2, { describe: 'the second message' });
      expect(stopped.received.map(numberOf)).toEqual([1]);
    });

    test('a full queue refuses the whole publication for every group, and takes messages again when it has room', async () => {
      const { bus, subscribe, newBoundedTopic } = await setUp();
      if (newBoundedTopic === undefined) return;
      const topic = await newBoundedTopic(3);
      const [slow, fast] = [collect(), collect()];
      const { opened, open } = gate();
      await subscribe({
        topic,
        group: 'slow',
        onMessages: async (batch) => {
          await opened;
          slow.onMessages(batch);
        },
      });
      await subscribe({ topic, group: 'fast', onMessages: fast.onMessages });
      await bus.publish(topic, [message('k', 1), message('k', 2)]);
      await waitFor(() => fast.received.length === 2, { describe: 'the fast group' });
      await expect(bus.publish(topic, [message('k', 3), message('k', 4)])).rejects.toBeInstanceOf(BusFullError);
      await bus.publish(topic, [message('k', 5)]);
      await expect(bus.publish(topic, [message('k', 6)])).rejects.toBeInstanceOf(BusFullError);
      open();
      await waitFor(() => slow.received.length === 3, { describe: 'the slow group' });
      await bus.publish(topic, [message('k', 7)]);
      await waitFor(() => slow.received.length === 4 && fast.received.length === 4, { describe: 'both groups' });
      expect([slow, fast].map((group) => group.received.map(numberOf))).toEqual([
        [1, 2, 5, 7],
        [1, 2, 5, 7],
      ]);
    });

    test('a handler may publish', async () => {
      const { bus, topic, subscribe } = await setUp();
      const seen: number[] = [];
      await subscribe({
        onMessages: async (batch) => {
          for (const one of batch) {
            seen.push(numberOf(one));
            if (numberOf(one) < 5) await bus.publish(topic, [message('k', numberOf(one) + 1)]);
          }
        },
      });
      await bus.publish(topic, [message('k', 0)]);
      await waitFor(() => seen.length === 6, { describe: 'the chain' });
      expect(seen).toEqual([0, 1, 2, 3, 4, 5]);
    });

    test('it is ready until it is closed', async () => {
      const { bus, topic } = await setUp();
      expect(await bus.isReady()).toBe(true);
      await bus.close();
      expect(await bus.isReady()).toBe(false);
      await expect(bus.publish(topic, [message('k', 1)])).rejects.toThrow();
    });
  });
}
