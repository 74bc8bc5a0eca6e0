/**
 * The promises of the EventStore port as tests. Every adapter runs them: `describeEventStoreContract('memory', () => createMemoryEventStore())`.
 * The log may hold other suites' events: each test writes streams of its own and starts from the head it found.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { BEFORE_EVERYTHING, type JsonObject, type Position, type RecordedEvent } from '../contract/envelope.js';
import { APPEND_EVENTS_MAX, APPEND_STREAMS_MAX, type EventStore, NO_STREAM, READ_EVENTS_MAX } from './event-store.js';
import { describeSubscriptionContract } from './event-store-subscription-contract.js';
import { freshStream, newEvent, newEvents } from './testing/example-events.js';

/** Makes a store; called once for the suite and once more by the test that closes its own. */
export type MakeEventStore = () => EventStore | Promise<EventStore>;

export function describeEventStoreContract(name: string, makeStore: MakeEventStore): void {
  describe(`event store contract: ${name}`, () => {
    let store: EventStore;
    beforeAll(async () => {
      store = await makeStore();
    });
    afterAll(async () => {
      await store?.close();
    });
    const theStore = (): EventStore => store;
    describe('append', () => describeAppend(theStore));
    describe('retried append', () => describeRetry(theStore));
    describe('reading', () => describeReading(theStore));
    describe('bounds', () => describeBounds(theStore));
    describeSubscriptionContract(theStore);
    describe('lifecycle', () => describeLifecycle(theStore, makeStore));
  });
}

/** Everything after `after` in pages. */
export async function readEverything(store: EventStore, after: Position): Promise<RecordedEvent[]> {
  const all: RecordedEvent[] = [];
  for (;;) {
    const page = await store.readAll(all.at(-1)?.position ?? after, 1_000);
    if (page.length === 0) return all;
    all.push(...page);
  }
}

function describeAppend(theStore: () => EventStore): void {
  test('a first append to NO_STREAM starts at revision 0', async () => {
    const stream = freshStream();
    const [result] = await theStore().append([{ stream, expectedRevision: NO_STREAM, events: newEvents(3) }]);
    expect(result).toEqual({ status: 'appended', revision: 2, position: expect.any(String), replayed: false });
    const events = await theStore().readStream(stream);
    expect(events.map((event) => event.revision)).toEqual([0, 1, 2]);
    expect(events.at(-1)?.position).toBe(result?.status === 'appended' ? result.position : null);
  });

  test('the expected revision is the fence: a wrong one conflicts, names the actual one and writes nothing', async () => {
    const stream = freshStream();
    await theStore().append([{ stream, expectedRevision: NO_STREAM, events: newEvents(2) }]);
    for (const expectedRevision of [NO_STREAM, 0, 2, 7]) {
      const [result] = await theStore().append([{ stream, expectedRevision, events: newEvents(1) }]);
      expect(result).toEqual({ status: 'conflict', actualRevision: 1 });
    }
    expect(await theStore().readStream(stream)).toHaveLength(2);
    const [next] = await theStore().append([{ stream, expectedRevision: 1, events: newEvents(1) }]);
    expect(next).toMatchObject({ status: 'appended', revision: 2 });
  });

  test('a revision expected of a stream that does not exist conflicts with NO_STREAM', async () => {
    const [result] = await theStore().append([{ stream: freshStream(), expectedRevision: 0, events: newEvents(1) }]);
    expect(result).toEqual({ status: 'conflict', actualRevision: NO_STREAM });
  });

  test('one call writes many streams; each succeeds or conflicts on its own', async () => {
    const store = theStore();
    const taken = freshStream();
    await store.append([{ stream: taken, expectedRevision: NO_STREAM, events: newEvents(1) }]);
    const streams = [freshStream(), taken, freshStream(), freshStream()];
    const results = await store.append(
      streams.map((stream, index) => ({ stream, expectedRevision: NO_STREAM, events: newEvents(index + 1) })),
    );
    expect(results).toEqual([
      expect.objectContaining({ status: 'appended', revision: 0 }),
      { status: 'conflict', actualRevision: 0 },
      expect.objectContaining({ status: 'appended', revision: 2 }),
      expect.objectContaining({ status: 'appended', revision: 3 }),
    ]);
    expect(await Promise.all(streams.map(async (stream) => (await store.readStream(stream)).length))).toEqual([1, 1, 3, 4]);
  });

  test('of many writers that race for one revision exactly one wins, and its batch stays whole', async () => {
    const store = theStore();
    const stream = freshStream();
    const batches = Array.from({ length: 8 }, () => newEvents(3));
    const results = await Promise.all(
      batches.map(async (events) => (await store.append([{ stream, expectedRevision: NO_STREAM, events }]))[0]),
    );
    const winners = batches.filter((_, index) => results[index]?.status === 'appended');
    expect(winners).toHaveLength(1);
    expect((await store.readStream(stream)).map((event) => event.id)).toEqual(winners[0]?.map((event) => event.id));
    for (const result of results) if (result?.status === 'conflict') expect(result.actualRevision).toBe(2);
  });

  test('writers that touch the same streams in opposite orders neither deadlock nor fail', async () => {
    const store = theStore();
    const streams = Array.from({ length: 20 }, freshStream);
    const append = (order: readonly string[]) =>
      store.append(order.map((stream) => ({ stream, expectedRevision: NO_STREAM, events: newEvents(1) })));
    const results = await Promise.all([append(streams), append(streams.toReversed()), append(streams), append(streams.toReversed())]);
    expect(results.flat().filter((result) => result.status === 'appended')).toHaveLength(streams.length);
    for (const stream of streams) expect(await store.readStream(stream)).toHaveLength(1);
  });

  test('an append of nothing answers nothing', async () => {
    expect(await theStore().append([])).toEqual([]);
  });
}

function describeRetry(theStore: () => EventStore): void {
  test('the same batch again is found and not written twice', async () => {
    const stream = freshStream();
    const append = { stream, expectedRevision: NO_STREAM, events: newEvents(3) };
    const [first] = await theStore().append([append]);
    const [again] = await theStore().append([append]);
    expect(again).toEqual({ ...first, replayed: true });
    expect(await theStore().readStream(stream)).toHaveLength(3);
  });

  test('a retry is recognised when the stream has moved on since', async () => {
    const store = theStore();
    const stream = freshStream();
    await store.append([{ stream, expectedRevision: NO_STREAM, events: newEvents(1) }]);
    const append = { stream, expectedRevision: 0, events: newEvents(2) };
    const [first] = await store.append([append]);
    await store.append([{ stream, expectedRevision: 2, events: newEvents(4) }]);
    const [again] = await store.append([append]);
    expect(again).toEqual({ ...first, replayed: true });
    expect(await store.readStream(stream)).toHaveLength(7);
  });

  test('a batch that differs in part is a conflict', async () => {
    const store = theStore();
    const stream = freshStream();
    const events = newEvents(3);
    await store.append([{ stream, expectedRevision: NO_STREAM, events }]);
    const changed = [...events.slice(0, 2), newEvent()];
    const longer = [...events, newEvent()];
    for (const batch of [changed, longer]) {
      const [result] = await store.append([{ stream, expectedRevision: NO_STREAM, events: batch }]);
      expect(result).toEqual({ status: 'conflict', actualRevision: 2 });
    }
  });

  test('one call mixes new, replayed and conflicting streams', async () => {
    const store = theStore();
    const written = { stream: freshStream(), expectedRevision: NO_STREAM, events: newEvents(2) };
    const taken = freshStream();
    await store.append([written, { stream: taken, expectedRevision: NO_STREAM, events: newEvents(1) }]);
    const results = await store.append([
      { stream: taken, expectedRevision: NO_STREAM, events: newEvents(1) },
      written,
      { stream: freshStream(), expectedRevision: NO_STREAM, events: newEvents(1) },
    ]);
    expect(results).toEqual([
      { status: 'conflict', actualRevision: 0 },
      expect.objectContaining({ status: 'appended', revision: 1, replayed: true }),
      expect.objectContaining({ status: 'appended', revision: 0, replayed: false }),
    ]);
  });
}

function describeReading(theStore: () => EventStore): void {
  test('a stream that does not exist is empty', async () => {
    expect(await theStore().readStream(freshStream())).toEqual([]);
  });

  test('a stream is read in pages', async () => {
    const stream = freshStream();
    const events = newEvents(10);
    await theStore().append([{ stream, expectedRevision: NO_STREAM, events }]);
    const pages: string[][] = [];
    for (let fromRevision = 0; fromRevision < 12; fromRevision += 4) {
      pages.push((await theStore().readStream(stream, { fromRevision, maxCount: 4 })).map((event) => event.id));
    }
    expect(pages.map((page) => page.length)).toEqual([4, 4, 2]);
    expect(pages.flat()).toEqual(events.map((event) => event.id));
  });

  test('what was appended is what is read, to the last character', async () => {
    const stream = freshStream();
    const data: JsonObject = {
      text: 'quotes " and \\ and \u0000 and \u001f and \u2028 and 𝄞 and lone \ud800',
      'key with "quotes" and {braces}': 'NULL',
      numbers: [0, -1, 0.1, 1e21, Number.MAX_SAFE_INTEGER, 5e-324],
      nested: [{ a: null, b: [true, false, []] }, {}],
      empty: '',
      amountNanos: '123456789012345678901234567890',
      order: { z: 1, a: 2 },
    };
    const event = newEvent(data);
    await theStore().append([{ stream, expectedRevision: NO_STREAM, events: [event] }]);
    const [read] = await theStore().readStream(stream);
    expect(read).toEqual({ ...event, stream, revision: 0, position: expect.any(String) });
    expect(JSON.stringify(read?.data)).toBe(JSON.stringify(data));
  });

  test('the log holds every event once, in position order, paged, and the head is its end', async () => {
    const store = theStore();
    const origin = await store.head();
    const streams = Array.from({ length: 5 }, freshStream);
    for (let round = 0; round < 3; round += 1) {
      await store.append(streams.map((stream) => ({ stream, expectedRevision: round * 2 - 1, events: newEvents(2) })));
    }
    const all: RecordedEvent[] = [];
    for (;;) {
      const page = await store.readAll(all.at(-1)?.position ?? origin, 7);
      expect(page.length).toBeLessThanOrEqual(7);
      if (page.length === 0) break;
      all.push(...page);
    }
    expect(all).toHaveLength(30);
    expect(all.every((event, index) => event.position > (all[index - 1]?.position ?? origin))).toBe(true);
    for (const stream of streams) {
      expect(all.filter((event) => event.stream === stream).map((event) => event.revision)).toEqual([0, 1, 2, 3, 4, 5]);
    }
    expect(await store.head()).toBe(all.at(-1)?.position);
    expect(BEFORE_EVERYTHING < (all[0]?.position ?? '')).toBe(true);
  });

  test('a reader polling beside concurrent writers gets every event exactly once, in position order', async () => {
    const store = theStore();
    const origin = await store.head();
    const writers = 6;
    const rounds = 25;
    let writing = writers;
    const collected: RecordedEvent[] = [];
    const write = async (): Promise<void> => {
      const streams = [freshStream(), freshStream()];
      for (let round = 0; round < rounds; round += 1) {
        await store.append(streams.map((stream) => ({ stream, expectedRevision: round - 1, events: newEvents(1) })));
      }
      writing -= 1;
    };
    const read = async (): Promise<void> => {
      for (;;) {
        const done = writing === 0;
        const page = await store.readAll(collected.at(-1)?.position ?? origin, 50);
        collected.push(...page);
        if (done && page.length === 0) return;
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    };
    await Promise.all([...Array.from({ length: writers }, write), read()]);
    expect(collected).toHaveLength(writers * 2 * rounds);
    expect(new Set(collected.map((event) => event.id)).size).toBe(collected.length);
    expect(collected.every((event, index) => event.position > (collected[index - 1]?.position ?? origin))).toBe(true);
    const revisions = new Map<string, number>();
    for (const event of collected) {
      expect(event.revision).toBe((revisions.get(event.stream) ?? -1) + 1);
      revisions.set(event.stream, event.revision);
    }
  });
}

function describeBounds(theStore: () => EventStore): void {
  test.each<[string, () => Promise<unknown>]>([
    ['an append without events', () => theStore().append([{ stream: freshStream(), expectedRevision: NO_STREAM, events: [] }])],
    [
      'too many events for one stream',
      () => theStore().append([{ stream: freshStream(), expectedRevision: NO_STREAM, events: newEvents(APPEND_EVENTS_MAX + 1) }]),
    ],
    [
      'too many streams',
      () =>
        theStore().append(
          Array.from({ length: APPEND_STREAMS_MAX + 1 }, () => ({
            stream: freshStream(),
            expectedRevision: NO_STREAM,
            events: newEvents(1),
          })),
        ),
    ],
    [
      'a stream twice in one call',
      () => {
        const append = { stream: freshStream(), expectedRevision: NO_STREAM, events: newEvents(1) };
        return theStore().append([append, append]);
      },
    ],
    ['a revision below NO_STREAM', () => theStore().append([{ stream: freshStream(), expectedRevision: -2, events: newEvents(1) }])],
    [
      'an event id that is no UUID',
      () => theStore().append([{ stream: freshStream(), expectedRevision: NO_STREAM, events: [{ ...newEvent(), id: '1' }] }]),
    ],
    ['a page of none', () => theStore().readAll(BEFORE_EVERYTHING, 0)],
    ['a page beyond the maximum', () => theStore().readAll(BEFORE_EVERYTHING, READ_EVENTS_MAX + 1)],
    ['a position of no store', () => theStore().readAll('nowhere', 1)],
    ['a stream page beyond the maximum', () => theStore().readStream(freshStream(), { maxCount: READ_EVENTS_MAX + 1 })],
    ['a negative revision to read from', () => theStore().readStream(freshStream(), { fromRevision: -1 })],
    ['a stream without a name', () => theStore().readStream('')],
  ])('%s is refused with RangeError', async (_name, breach) => {
    await expect(breach()).rejects.toThrow(RangeError);
  });

  test('a subscription batch out of bounds is refused with RangeError', () => {
    const subscribe = (batchMax: number) => () => theStore().subscribe({ after: BEFORE_EVERYTHING, batchMax, onEvents: () => {} });
    expect(subscribe(0)).toThrow(RangeError);
    expect(subscribe(READ_EVENTS_MAX + 1)).toThrow(RangeError);
  });

  test('the largest append of one stream and of many streams is accepted', async () => {
    const store = theStore();
    const [one] = await store.append([{ stream: freshStream(), expectedRevision: NO_STREAM, events: newEvents(APPEND_EVENTS_MAX) }]);
    expect(one).toMatchObject({ status: 'appended', revision: APPEND_EVENTS_MAX - 1 });
    const many = await store.append(
      Array.from({ length: APPEND_STREAMS_MAX }, () => ({ stream: freshStream(), expectedRevision: NO_STREAM, events: newEvents(1) })),
    );
    expect(many.filter((result) => result.status === 'appended')).toHaveLength(APPEND_STREAMS_MAX);
  });
}

function describeLifecycle(theStore: () => EventStore, makeStore: MakeEventStore): void {
  test('an open store is ready', async () => {
    expect(await theStore().isReady()).toBe(true);
  });

  test('a closed store is not ready, refuses appends and calls no handler', async () => {
    const store = await makeStore();
    let calls = 0;
    store.subscribe({
      after: await store.head(),
      onEvents: () => {
        calls += 1;
      },
    });
    await store.close();
    await store.close();
    expect(await store.isReady()).toBe(false);
    await expect(store.append([{ stream: freshStream(), expectedRevision: NO_STREAM, events: newEvents(1) }])).rejects.toThrow(/closed/);
    await theStore().append([{ stream: freshStream(), expectedRevision: NO_STREAM, events: newEvents(1) }]);
    expect(await readEverything(theStore(), await theStore().head())).toEqual([]);
    expect(calls).toBe(0);
  });
}
