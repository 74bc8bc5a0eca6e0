/** The in-process bus keeps the contract, and what it promises beyond it: nothing hidden from the scheduler, keys shared out, no retention. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { eventLoopScheduler, type Scheduler } from '../../../platform/scheduler.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import type { Message } from '../message-bus.js';
import { describeMessageBusContract } from '../message-bus-contract.js';
import { InProcessBus } from './in-process-bus.js';
import { MessageQueue } from './message-queue.js';
import { REDELIVERY_DELAY_MAX_MS } from './subscriber-group.js';

let topics = 0;

describeMessageBusContract('the in-process bus', async () => {
  const bounds = new Map<string, number>();
  const bus = new InProcessBus({ scheduler: eventLoopScheduler, queueMax: (topic) => bounds.get(topic) });
  const newTopic = async () => {
    topics += 1;
    return `topic-${topics}`;
  };
  return {
    bus,
    newTopic,
    newBoundedTopic: async (queueMax) => {
      const topic = await newTopic();
      bounds.set(topic, queueMax);
      return topic;
    },
    dispose: () => bus.close(),
  };
});

const message = (n: number, key = 'k'): Message => ({ key, type: 'Counted', headers: {}, value: { n } });
const numbersOf = (batch: readonly Message[]) => batch.map((one) => one.value['n'] as number);

/** Runs deferred work when told, in order, and keeps delays apart. */
function manualScheduler() {
  const deferred: (() => void)[] = [];
  const delayed: { work: () => void; delayMs: number }[] = [];
  const scheduler: Scheduler = {
    defer: (work) => void deferred.push(work),
    delay: (work, delayMs) => {
      const entry = { work, delayMs };
      delayed.push(entry);
      return () => {
        const index = delayed.indexOf(entry);
        if (index >= 0) delayed.splice(index, 1);
      };
    },
  };
  return { scheduler, deferred, delayed, turn: () => deferred.shift()?.() };
}

describe('delivery', () => {
  test('nothing runs inside publish, and a topic never keeps the event loop to itself', async () => {
    const { scheduler, deferred, turn } = manualScheduler();
    const bus = new InProcessBus({ scheduler });
    const seen: number[] = [];
    await bus.subscribe({ topic: 't', group: 'g', batchMax: 2, onMessages: (batch) => void seen.push(...numbersOf(batch)) });
    await bus.publish(
      't',
      Array.from({ length: 20 }, (_, n) => message(n)),
    );
    expect(seen).toEqual([]);
    turn();
    expect([seen.length, deferred.length]).toEqual([16, 1]);
    turn();
    expect([seen.length, deferred.length, bus.waiting('t', 'g')]).toEqual([20, 0, 0]);
  });

  test('pauses between deliveries double up to a bound, and only the scheduler ends them', async () => {
    const { scheduler, deferred, delayed, turn } = manualScheduler();
    const bus = new InProcessBus({ scheduler });
    await bus.subscribe({
      topic: 't',
      group: 'g',
      onMessages: () => {
        throw new Error('never');
      },
    });
    await bus.publish('t', [message(1)]);
    const pauses: number[] = [];
    for (let delivery = 0; delivery < 9; delivery += 1) {
      turn();
      const pause = delayed.shift();
      pauses.push(pause?.delayMs ?? -1);
      pause?.work();
    }
    expect(pauses).toEqual([10, 20, 40, 80, 160, 320, 640, REDELIVERY_DELAY_MAX_MS, REDELIVERY_DELAY_MAX_MS]);
    expect([deferred.length, bus.waiting('t', 'g')]).toEqual([1, 1]);
  });

  test('listeners that throw do not stop the queue', async () => {
    const bus = new InProcessBus({ scheduler: eventLoopScheduler });
    const seen: number[] = [];
    let reports = 0;
    await bus.subscribe({
      topic: 't',
      group: 'g',
      batchMax: 1,
      attemptsMax: 1,
      onError: () => {
        throw new Error('deaf');
      },
      onPoison: () => {
        reports += 1;
        if (reports < 3) throw new Error('quarantine is full');
      },
      onMessages: (batch) => {
        if (numbersOf(batch)[0] === 1) throw new Error('poison');
        seen.push(...numbersOf(batch));
      },
    });
    await bus.publish('t', [message(1), message(2)]);
    await waitFor(() => seen.length === 1, { describe: 'the message after the poison' });
    expect(reports).toBe(3);
    await bus.close();
  });
});

test('members of a group share its keys', async () => {
  const bus = new InProcessBus({ scheduler: eventLoopScheduler });
  const keysOf: Set<string>[] = [new Set(), new Set(), new Set()];
  for (const keys of keysOf) {
    await bus.subscribe({ topic: 't', group: 'g', onMessages: (batch) => batch.forEach((one) => void keys.add(one.key)) });
  }
  for (let round = 0; round < 3; round += 1) {
    await bus.publish(
      't',
      Array.from({ length: 60 }, (_, n) => message(n, `acc_${n}`)),
    );
  }
  await waitFor(() => bus.waiting('t', 'g') === 0, { describe: 'an empty queue' });
  expect(keysOf.reduce((total, keys) => total + keys.size, 0)).toBe(60);
  for (const keys of keysOf) expect(keys.size).toBeGreaterThan(5);
  await bus.close();
});

test('a topic that nobody reads drops what is published; a group that once was keeps it', async () => {
  const bus = new InProcessBus({ scheduler: eventLoopScheduler });
  await bus.publish('t', [message(1)]);
  const seen: number[] = [];
  const onMessages = (batch: readonly Message[]) => void seen.push(...numbersOf(batch));
  const subscription = await bus.subscribe({ topic: 't', group: 'late', onMessages });
  await bus.publish('t', [message(2)]);
  await waitFor(() => seen.length === 1, { describe: 'the later message' });
  await subscription.stop();
  await bus.publish('t', [message(3)]);
  await bus.subscribe({ topic: 't', group: 'late', onMessages });
  await waitFor(() => seen.length === 2, { describe: 'the message of the meantime' });
  expect(seen).toEqual([2, 3]);
});

test('a queue gives back what was put in, in order, however it is taken', () => {
  const operation = fc.oneof(
    fc.nat(2_000).map((count) => ({ kind: 'push' as const, count })),
    fc.nat(1_500).map((count) => ({ kind: 'take' as const, count: count + 1 })),
    fc.constant({ kind: 'put_back' as const, count: 3 }),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
      const queue = new MessageQueue();
      let model: number[] = [];
      let pushed = 0;
      for (const { kind, count } of operations) {
        if (kind === 'push') {
          for (let n = 0; n < count; n += 1) {
            queue.push(message(pushed));
            model.push(pushed);
            pushed += 1;
          }
        } else {
          const taken = queue.take(count);
          expect(numbersOf(taken)).toEqual(model.slice(0, count));
          model = model.slice(count);
          if (kind === 'put_back') {
            queue.putBack(taken);
            model = [...numbersOf(taken), ...model];
          }
        }
        expect(queue.length).toBe(model.length);
      }
      expect(numbersOf(queue.takeAll())).toEqual(model);
    }),
  );
});
