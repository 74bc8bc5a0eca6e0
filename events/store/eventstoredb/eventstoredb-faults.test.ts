/** The EventStoreDB store in trouble: servers that freeze, die and come back, writers that are in doubt, logs that others write to as well. */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EventStoreDBClient, jsonEvent } from '@eventstore/db-client';
import { afterEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { BEFORE_EVERYTHING, type RecordedEvent } from '../../contract/envelope.js';
import { type EventStore, NO_STREAM, type StreamAppend } from '../event-store.js';
import { freshStream, newEvent, newEvents } from '../testing/example-events.js';
import {
  APPEND_TIMEOUT_DEFAULT_MS,
  APPENDS_IN_FLIGHT_MAX,
  createEventStoreDbStore,
  type EventStoreDbStoreOptions,
} from './eventstoredb-store.js';
import { type DoubleSettings, type EventStoreDouble, startEventStoreDouble } from './testing/double/event-store-double.js';

const logger = pino({ level: 'silent' });
const APPEND_TIMEOUT_MS = 300;

const releasers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  while (releasers.length > 0) await releasers.pop()?.();
});

async function startDouble(settings: Partial<DoubleSettings> = {}): Promise<EventStoreDouble> {
  const double = await startEventStoreDouble(settings);
  releasers.push(() => double.stop());
  return double;
}

/** Keeps what it acknowledged when it is killed. */
function startDurableDouble(): Promise<EventStoreDouble> {
  const folder = mkdtempSync(join(tmpdir(), 'farebox-event-store-'));
  releasers.push(() => rm(folder, { recursive: true, force: true }));
  return startDouble({ folder });
}

function openStore(double: EventStoreDouble, options: Partial<EventStoreDbStoreOptions> = {}): EventStore {
  const { connectionString } = double;
  const store = createEventStoreDbStore({ connectionString, logger, appendTimeoutMs: APPEND_TIMEOUT_MS, ...options });
  releasers.push(() => store.close());
  return store;
}

function openBareClient(double: EventStoreDouble): EventStoreDBClient {
  const client = EventStoreDBClient.connectionString(double.connectionString);
  releasers.push(() => client.dispose());
  return client;
}

const newAppend = (count = 3): StreamAppend => ({ stream: freshStream(), expectedRevision: NO_STREAM, events: newEvents(count) });

async function expectStoredOnce(store: EventStore, append: StreamAppend): Promise<void> {
  const stored = await store.readStream(append.stream);
  expect(stored.map((event) => event.id)).toEqual(append.events.map((event) => event.id));
}

/** As the ledger does: the same events again until the store has an answer. */
async function appendUntilAnswered(store: EventStore, appends: readonly StreamAppend[]) {
  return waitFor(() => store.append(appends).catch(() => null), { describe: 'an answer', timeoutMs: 30_000 });
}

describe('a server that freezes', () => {
  test.each(['writing', 'accepting'] as const)('an append frozen while %s is tried again and stands once after the thaw', async (how) => {
    const double = await startDouble();
    const store = openStore(double);
    const append = newAppend();
    await double.freeze(how);
    const answer = store.append([append]);
    // The first try has timed out, and the second has arrived.
    await waitFor(async () => (await double.count()).held === 2, { describe: 'the second try' });
    await double.thaw();
    const [result] = await answer;
    expect(result).toMatchObject({ status: 'appended', revision: 2 });
    await expectStoredOnce(store, append);
    expect(result).toMatchObject({ position: (await store.readStream(append.stream)).at(-1)?.position });
  });

  test('a freeze that lasts makes the append fail; sent again after the thaw it stands once', async () => {
    const double = await startDouble();
    const store = openStore(double);
    const append = newAppend();
    await double.freeze('writing');
    await expect(store.append([append])).rejects.toThrow(/no answer/);
    expect(await store.isReady()).toBe(false);
    await double.thaw();
    expect(await store.append([append])).toEqual([
      { status: 'appended', revision: 2, position: (await store.readStream(append.stream)).at(-1)?.position, replayed: true },
    ]);
    await expectStoredOnce(store, append);
    expect(await store.isReady()).toBe(true);
  });

  test('more appends than fit at once wait in line, and all stand once after the thaw', async () => {
    const double = await startDouble();
    const store = openStore(double);
    const appends = Array.from({ length: APPENDS_IN_FLIGHT_MAX * 5 }, () => newAppend());
    await double.freeze('accepting');
    const answer = store.append(appends);
    await waitFor(async () => (await double.count()).held >= APPENDS_IN_FLIGHT_MAX, { describe: 'a full line' });
    expect((await double.count()).held).toBeLessThanOrEqual(APPENDS_IN_FLIGHT_MAX);
    await double.thaw();
    for (const result of await answer) expect(result).toMatchObject({ status: 'appended', revision: 2 });
    for (const append of appends) await expectStoredOnce(store, append);
  });
});

describe('a server that is killed', () => {
  test('subscriptions go on where they were, without loss or duplicate', async () => {
    const double = await startDurableDouble();
    const store = openStore(double);
    const stream = freshStream();
    const seen: RecordedEvent[] = [];
    const errors: unknown[] = [];
    store.subscribe({
      after: BEFORE_EVERYTHING,
      batchMax: 4,
      onEvents: (events) => void seen.push(...events),
      onError: (error) => errors.push(error),
    });
    let revision = NO_STREAM;
    for (let round = 0; round < 3; round += 1) {
      const append = { stream, expectedRevision: revision, events: newEvents(5) };
      await appendUntilAnswered(store, [append]);
      revision += 5;
      // Also killed in the middle of what it sends.
      if (round !== 1) await waitFor(() => seen.length >= revision + 1, { describe: () => `${revision + 1} events; saw ${seen.length}` });
      await double.kill();
      await waitFor(() => errors.length > round, { describe: 'the subscription to notice' });
      await double.restart();
    }
    await appendUntilAnswered(store, [{ stream, expectedRevision: revision, events: newEvents(1) }]);
    await waitFor(() => seen.length >= 16, { describe: () => `16 events; saw ${seen.length}` });
    expect(seen.map((event) => event.revision)).toEqual(Array.from({ length: 16 }, (_, index) => index));
  });

  test('a burst of appends across the kill stands once, and what was acknowledged is kept', async () => {
    const double = await startDurableDouble();
    const store = openStore(double);
    const acknowledged = newAppend();
    await store.append([acknowledged]);
    const appends = Array.from({ length: 200 }, () => newAppend());
    const answer = appendUntilAnswered(store, appends);
    await waitFor(async () => (await double.count()).events > 50, { describe: 'the burst to be under way' });
    await double.kill();
    expect(await store.isReady()).toBe(false);
    await double.restart();
    for (const result of await answer) expect(result).toMatchObject({ status: 'appended', revision: 2 });
    for (const append of [acknowledged, ...appends]) await expectStoredOnce(store, append);
  });

  test('a server that cannot be reached is not ready, and an append to it rejects', async () => {
    const double = await startDouble();
    const store = openStore(double);
    await double.kill();
    expect(await store.isReady()).toBe(false);
    await expect(store.append([newAppend()])).rejects.toThrow();
    await expect(store.readAll(BEFORE_EVERYTHING, 1)).rejects.toThrow();
    await expect(store.readStream(freshStream())).rejects.toThrow();
  });
});

describe('writers in doubt', () => {
  test('two that make the same ids of different content: the slower one is told that it was not the one who wrote', async () => {
    const double = await startDouble();
    const [one, other] = [openStore(double), openStore(double)];
    const append = newAppend(2);
    const rival = { ...append, events: append.events.map((event) => ({ ...event, data: { outcome: 'another' } })) };
    const results = (await Promise.all([one.append([append]), other.append([rival])])).flat();
    expect(results.map((result) => result.status)).toEqual(['appended', 'appended']);
    const winners = [append, rival].filter((_, index) => {
      const result = results[index];
      return result?.status === 'appended' && !result.replayed;
    });
    expect(winners).toHaveLength(1);
    const stored = await one.readStream(append.stream);
    expect(stored.map((event) => event.data)).toEqual(winners[0]?.events.map((event) => event.data));
  });
});

describe('a log that others write to as well', () => {
  test('system events and other applications’ events are passed over by reads, subscriptions and the head', async () => {
    const double = await startDouble();
    const store = openStore(double);
    const bare = openBareClient(double);
    const stream = freshStream();
    await store.append([{ stream, expectedRevision: NO_STREAM, events: newEvents(2) }]);
    const head = await store.head();
    for (let count = 0; count < 20; count += 1) await bare.setStreamMetadata(`other-${count}`, { maxCount: 5 });
    await bare.appendToStream('other-1', jsonEvent({ type: 'ElsewhereHappened', data: {} }));
    expect(await store.head()).toBe(head);
    await store.append([{ stream, expectedRevision: 1, events: newEvents(2) }]);
    expect((await store.readAll(BEFORE_EVERYTHING, 3)).map((event) => event.revision)).toEqual([0, 1, 2]);
    expect((await store.readAll(head, 3)).map((event) => event.revision)).toEqual([2, 3]);
    const seen: number[] = [];
    store.subscribe({ after: BEFORE_EVERYTHING, onEvents: (events) => void seen.push(...events.map((event) => event.revision)) });
    await waitFor(() => seen.length >= 4, { describe: () => `4 events; saw ${seen}` });
    expect(seen).toEqual([0, 1, 2, 3]);
    await expect(store.readStream('other-1')).rejects.toThrow(/not written by this store/);
  });

  test('a stream cut short by $maxCount is read from what is left, and a deleted one is empty and can go on', async () => {
    const double = await startDouble();
    const store = openStore(double);
    const bare = openBareClient(double);
    const stream = freshStream();
    await store.append([{ stream, expectedRevision: NO_STREAM, events: newEvents(5) }]);
    await bare.setStreamMetadata(stream, { maxCount: 2 });
    expect((await store.readStream(stream)).map((event) => event.revision)).toEqual([3, 4]);
    expect((await store.readStream(stream, { fromRevision: 1, maxCount: 1 })).map((event) => event.revision)).toEqual([3]);
    await bare.deleteStream(stream, { expectedRevision: 4n });
    expect(await store.readStream(stream)).toEqual([]);
    const [result] = await store.append([{ stream, expectedRevision: 4, events: newEvents(1) }]);
    expect(result).toMatchObject({ status: 'appended', revision: 5 });
    expect((await store.readStream(stream)).map((event) => event.revision)).toEqual([5]);
  });

  test('a stream that was ended for good refuses appends at once', async () => {
    const double = await startDouble();
    const store = openStore(double);
    const append = newAppend(1);
    await store.append([append]);
    await openBareClient(double).tombstoneStream(append.stream);
    await expect(store.append([{ ...append, expectedRevision: 0, events: [newEvent()] }])).rejects.toMatchObject({
      type: 'stream-deleted',
    });
  });
});

describe('a slow subscriber', () => {
  test('keeps the server waiting instead of filling the memory, and gets everything in the end', async () => {
    const double = await startDouble();
    const store = openStore(double, { appendTimeoutMs: APPEND_TIMEOUT_DEFAULT_MS });
    const appends = Array.from({ length: 10 }, () => newAppend(1_000));
    await store.append(appends);
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    let seen = 0;
    store.subscribe({
      after: BEFORE_EVERYTHING,
      batchMax: 10,
      onEvents: async (events) => {
        await gate;
        seen += events.length;
      },
    });
    const reader = openStore(double);
    const { sent: sentAtRest } = await waitFor(
      async () => {
        const first = await double.count();
        // A read of the whole log on another connection gives the subscription all the time it needs.
        await reader.readAll(BEFORE_EVERYTHING, 10_000);
        const second = await double.count();
        return first.sent > 0 && second.sent === first.sent ? second : null;
      },
      { describe: 'the server to be kept waiting' },
    );
    expect(sentAtRest).toBeLessThan(5_000);
    release();
    await waitFor(() => seen === 10_000, { describe: () => `10,000 events; saw ${seen}` });
  });
});
