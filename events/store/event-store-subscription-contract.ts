/** The promises of `EventStore.subscribe` as tests; part of the contract suite in `event-store-contract.ts`. */
import { describe, expect, test } from '@jest/globals';
import { waitFor } from '../../platform/testing/wait-for.js';
import type { RecordedEvent } from '../contract/envelope.js';
import { type EventStore, NO_STREAM } from './event-store.js';
import { freshStream, newEvents } from './testing/example-events.js';

export function describeSubscriptionContract(theStore: () => EventStore): void {
  describe('subscription', () => {
    test('catches up, then follows live, without loss or duplicate', () => catchesUpThenFollows(theStore()));
    test('delivers the same events again after the handler threw', () => redelivers(theStore()));
    test('never runs a handler concurrently, and bounds the batch', () => neverConcurrent(theStore()));
    test('stop waits for the handler that runs and lets no other start', () => stops(theStore()));
    test('several subscribers each get everything', () => severalSubscribers(theStore()));
  });
}

async function appendTo(store: EventStore, stream: string, expectedRevision: number, count: number): Promise<void> {
  const [result] = await store.append([{ stream, expectedRevision, events: newEvents(count) }]);
  expect(result?.status).toBe('appended');
}

async function catchesUpThenFollows(store: EventStore): Promise<void> {
  const stream = freshStream();
  const after = await store.head();
  await appendTo(store, stream, NO_STREAM, 40);
  const seen: RecordedEvent[] = [];
  const subscription = store.subscribe({
    after,
    batchMax: 7,
    onEvents: async (events) => {
      // Appends while it catches up: the seam between catching up and live.
      if (seen.length === 14) await appendTo(store, stream, 39, 5);
      seen.push(...events);
    },
  });
  try {
    await waitFor(() => seen.length === 45, { describe: () => `45 events; saw ${seen.length}` });
    for (let round = 0; round < 5; round += 1) {
      await appendTo(store, stream, 44 + round, 1);
      await waitFor(() => seen.length === 46 + round, { describe: () => `${46 + round} events; saw ${seen.length}` });
    }
  } finally {
    await subscription.stop();
  }
  expect(seen.map((event) => event.revision)).toEqual(Array.from({ length: 50 }, (_, revision) => revision));
}

async function redelivers(store: EventStore): Promise<void> {
  const stream = freshStream();
  const after = await store.head();
  await appendTo(store, stream, NO_STREAM, 6);
  const deliveries: number[][] = [];
  const errors: unknown[] = [];
  const subscription = store.subscribe({
    after,
    batchMax: 3,
    onEvents: (events) => {
      deliveries.push(events.map((event) => event.revision));
      if (deliveries.length === 2 || deliveries.length === 3) throw new Error('not now');
    },
    onError: (error) => errors.push(error),
  });
  try {
    await waitFor(() => deliveries.length === 4, { describe: () => `4 deliveries; saw ${JSON.stringify(deliveries)}` });
  } finally {
    await subscription.stop();
  }
  expect(deliveries).toEqual([
    [0, 1, 2],
    [3, 4, 5],
    [3, 4, 5],
    [3, 4, 5],
  ]);
  expect(errors).toHaveLength(2);
}

async function neverConcurrent(store: EventStore): Promise<void> {
  const after = await store.head();
  const streams = Array.from({ length: 10 }, freshStream);
  let running = 0;
  let runningMax = 0;
  let batchMax = 0;
  let seen = 0;
  const subscription = store.subscribe({
    after,
    batchMax: 4,
    onEvents: async (events) => {
      running += 1;
      runningMax = Math.max(runningMax, running);
      batchMax = Math.max(batchMax, events.length);
      await new Promise<void>((resolve) => setImmediate(resolve));
      running -= 1;
      seen += events.length;
    },
  });
  try {
    await Promise.all(streams.map((stream) => appendTo(store, stream, NO_STREAM, 5)));
    await waitFor(() => seen === 50, { describe: () => `50 events; saw ${seen}` });
  } finally {
    await subscription.stop();
  }
  expect(runningMax).toBe(1);
  expect(batchMax).toBeLessThanOrEqual(4);
}

async function stops(store: EventStore): Promise<void> {
  const stream = freshStream();
  const after = await store.head();
  await appendTo(store, stream, NO_STREAM, 3);
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  let started = 0;
  let ended = 0;
  const subscription = store.subscribe({
    after,
    batchMax: 1,
    onEvents: async () => {
      started += 1;
      await gate;
      ended += 1;
    },
  });
  await waitFor(() => started === 1, { describe: 'the first delivery' });
  let stopped = false;
  const stopping = subscription.stop().then(() => {
    stopped = true;
  });
  await new Promise<void>((resolve) => setImmediate(resolve));
  expect(stopped).toBe(false);
  release();
  await stopping;
  expect(ended).toBe(1);
  await appendTo(store, stream, 2, 1);
  // Another subscriber that sees the append shows that the stopped one had its chance.
  let witnessed = false;
  const witness = store.subscribe({
    after,
    onEvents: (events) => {
      witnessed ||= events.some((event) => event.stream === stream && event.revision === 3);
    },
  });
  await waitFor(() => witnessed, { describe: 'the witness to see the append' });
  await witness.stop();
  expect(started).toBe(1);
}

async function severalSubscribers(store: EventStore): Promise<void> {
  const stream = freshStream();
  const after = await store.head();
  const seen: number[][] = [[], [], []];
  const subscriptions = seen.map((revisions) =>
    store.subscribe({
      after,
      onEvents: (events) => {
        revisions.push(...events.map((event) => event.revision));
      },
    }),
  );
  try {
    await appendTo(store, stream, NO_STREAM, 2);
    await appendTo(store, stream, 1, 2);
    await waitFor(() => seen.every((revisions) => revisions.length === 4), { describe: () => `all to see 4: ${JSON.stringify(seen)}` });
  } finally {
    await Promise.all(subscriptions.map((subscription) => subscription.stop()));
  }
  for (const revisions of seen) expect(revisions).toEqual([0, 1, 2, 3]);
}
