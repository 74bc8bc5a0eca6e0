/** The in-process bus keeps the contract, and its bounds. */
import { expect, test } from '@jest/globals';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { BusFullError, type Message } from '../message-bus.js';
import { describeMessageBusContract } from '../message-bus-contract.js';
import { InProcessBus } from './in-process-bus.js';

let topics = 0;

describeMessageBusContract('the in-process bus', async () => {
  const bus = new InProcessBus({ scheduler: eventLoopScheduler });
  return {
    bus,
    newTopic: async () => {
      topics += 1;
      return `topic-${topics}`;
    },
    dispose: () => bus.close(),
  };
});

const message = (n: number): Message => ({ key: 'k', type: 'Counted', headers: {}, value: { n } });

test('a full group refuses the whole publication, for every group', async () => {
  const bus = new InProcessBus({ scheduler: eventLoopScheduler, queueMax: () => 3 });
  const seen: number[] = [];
  let release: () => void = () => {};
  const blocked = new Promise<void>((resolve) => {
    release = resolve;
  });
  await bus.subscribe({ topic: 't', group: 'slow', onMessages: () => blocked });
  await bus.subscribe({
    topic: 't',
    group: 'fast',
    onMessages: (batch) => void seen.push(...batch.map((one) => one.value['n'] as number)),
  });
  await bus.publish('t', [message(1), message(2)]);
  await waitFor(() => seen.length === 2, { describe: 'the fast group' });
  await expect(bus.publish('t', [message(3), message(4)])).rejects.toBeInstanceOf(BusFullError);
  await bus.publish('t', [message(5)]);
  await waitFor(() => seen.length === 3, { describe: 'the fast group' });
  expect([seen, bus.waiting('t', 'slow')]).toEqual([[1, 2, 5], 3]);
  release();
  await waitFor(() => bus.waiting('t', 'slow') === 0, { describe: 'the slow group' });
});

test('a topic that nobody reads drops what is published', async () => {
  const bus = new InProcessBus({ scheduler: eventLoopScheduler });
  await bus.publish('t', [message(1)]);
  const seen: Message[] = [];
  await bus.subscribe({ topic: 't', group: 'late', onMessages: (batch) => void seen.push(...batch) });
  await bus.publish('t', [message(2)]);
  await waitFor(() => seen.length === 1, { describe: 'the later message' });
  expect(seen[0]?.value).toEqual({ n: 2 });
});
