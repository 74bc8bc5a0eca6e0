/** The in-memory store keeps the port's promises, and leaves time to its scheduler. */
import { describe, expect, test } from '@jest/globals';
import { BEFORE_EVERYTHING } from '../../contract/envelope.js';
import { NO_STREAM } from '../event-store.js';
import { describeEventStoreContract } from '../event-store-contract.js';
import { freshStream, newEvent, newEvents } from '../testing/example-events.js';
import { createMemoryEventStore } from './memory-event-store.js';

describeEventStoreContract('memory', () => createMemoryEventStore());

describe('memory event store', () => {
  test('nothing is delivered until the scheduler says so', async () => {
    const deferred: (() => void)[] = [];
    const store = createMemoryEventStore({ scheduler: { defer: (work) => deferred.push(work), delay: () => () => {} } });
    const seen: number[] = [];
    store.subscribe({
      after: BEFORE_EVERYTHING,
      batchMax: 2,
      onEvents: (events) => {
        seen.push(...events.map((event) => event.revision));
      },
    });
    await store.append([{ stream: freshStream(), expectedRevision: NO_STREAM, events: newEvents(3) }]);
    expect(seen).toEqual([]);
    expect(deferred).toHaveLength(1);
    deferred.shift()?.();
    await Promise.resolve().then(() => {});
    expect(seen).toEqual([0, 1]);
    await store.close();
  });

  test('neither the writer nor a reader can change what is stored', async () => {
    const store = createMemoryEventStore();
    const stream = freshStream();
    const inner = { amount: '1' };
    await store.append([{ stream, expectedRevision: NO_STREAM, events: [newEvent({ inner })] }]);
    inner.amount = '2';
    const [event] = await store.readStream(stream);
    expect(event?.data).toEqual({ inner: { amount: '1' } });
    expect(Object.isFrozen(event?.data['inner'])).toBe(true);
    await store.close();
  });
});
