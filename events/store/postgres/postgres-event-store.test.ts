/** The Postgres store keeps the port's promises on a real server, also when other processes, open transactions and lost connections interfere. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { packageFile } from '../../../platform/package-root.js';
import { createPostgresPool } from '../../../platform/postgres/pool.js';
import { eventLoopScheduler, type Scheduler } from '../../../platform/scheduler.js';
import { createTestDatabase, type TestDatabase } from '../../../platform/testing/postgres-for-tests.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import { BEFORE_EVERYTHING, type RecordedEvent } from '../../contract/envelope.js';
import { type EventStore, NO_STREAM } from '../event-store.js';
import { describeEventStoreContract } from '../event-store-contract.js';
import { freshStream, newEvents } from '../testing/example-events.js';
import { createPostgresEventStore, POLL_EVERY_MS } from './postgres-event-store.js';

const logger = pino({ level: 'silent' });
const migrations = [{ owner: 'event-store', folder: packageFile('events/store/postgres/migrations/') }];
/** Never polls, so that what arrives was announced. */
const withoutPolling: Scheduler = {
  defer: eventLoopScheduler.defer,
  delay: (work, delayMs) => (delayMs === POLL_EVERY_MS ? () => {} : eventLoopScheduler.delay(work, delayMs)),
};

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase({ migrations });
});

afterAll(async () => {
  await database.drop();
});

describeEventStoreContract('postgres', () => createPostgresEventStore({ pool: database.pool, logger }));

/** The test's own store, as another process would have it: with a pool of its own. */
async function withStore<Result>(work: (store: EventStore) => Promise<Result>, scheduler: Scheduler = withoutPolling): Promise<Result> {
  const { connectionString } = database;
  const pool = createPostgresPool({ connectionString, connectionsMax: 4, applicationName: 'another', logger });
  const store = createPostgresEventStore({ pool, logger, scheduler });
  try {
    return await work(store);
  } finally {
    await store.close();
    await pool.end();
  }
}

async function appendOne(store: EventStore, stream = freshStream(), expectedRevision = NO_STREAM): Promise<void> {
  const [result] = await store.append([{ stream, expectedRevision, events: newEvents(1) }]);
  expect(result?.status).toBe('appended');
}

describe('postgres event store', () => {
  test('subscribers hear of appends of other processes', () =>
    withStore((reader) =>
      withStore(async (writer) => {
        const seen: RecordedEvent[] = [];
        const stream = freshStream();
        reader.subscribe({ after: await reader.head(), onEvents: (events) => void seen.push(...events) });
        // Heard or caught up with, the first event shows that the subscription stands; the others must be heard.
        for (let revision = 0; revision < 4; revision += 1) {
          await appendOne(writer, stream, revision - 1);
          await waitFor(() => seen.length === revision + 1, { describe: () => `${revision + 1} events; saw ${seen.length}` });
        }
      }),
    ));

  test('an append that is still open is waited for, never skipped', () =>
    withStore(async (store) => {
      const after = await store.head();
      const slow = freshStream();
      const fast = freshStream();
      const seen: string[] = [];
      const client = await database.pool.connect();
      try {
        await client.query('begin');
        await client.query(
          `insert into event_store.events (transaction_id, ordinal, version, revision, id, stream, type, data, metadata)
           values (pg_current_xact_id(), 1, 1, 0, gen_random_uuid(), $1, 'ThingHappened', '{}', '{}')`,
          [slow],
        );
        store.subscribe({ after, onEvents: (events) => void seen.push(...events.map((event) => event.stream)) });
        await appendOne(store, fast);
        // Long enough for the store to look for transactions that it may pass over; this is none.
        for (let round = 0; round < 20; round += 1) {
          expect(await store.readAll(after, 10)).toEqual([]);
          await database.pool.query('select pg_sleep(0.01)');
        }
        expect(seen).toEqual([]);
        await client.query('commit');
      } finally {
        client.release();
      }
      await waitFor(() => seen.length === 2, { describe: 'both events' });
      expect(seen).toEqual([slow, fast]);
    }));

  test('a long transaction that appends nothing holds no reader up', () =>
    withStore(async (store) => {
      const seen: string[] = [];
      const stream = freshStream();
      const client = await database.pool.connect();
      try {
        await client.query('begin');
        await client.query('create table rebuilt (row_id bigint)');
        store.subscribe({ after: await store.head(), onEvents: (events) => void seen.push(...events.map((event) => event.stream)) });
        await appendOne(store, stream);
        await waitFor(() => seen.length === 1, { describe: 'the event while the other transaction is open' });
        await client.query('rollback');
      } finally {
        client.release();
      }
      expect(seen).toEqual([stream]);
    }));

  test('processes that race for the same revisions of many streams leave one winner each and no error', () =>
    withStore((one) =>
      withStore(async (other) => {
        const streams = Array.from({ length: 30 }, freshStream);
        const race = async (store: EventStore, order: readonly string[]) =>
          (await store.append(order.map((stream) => ({ stream, expectedRevision: NO_STREAM, events: newEvents(2) })))).filter(
            (result) => result.status === 'appended',
          ).length;
        const wins = await Promise.all([race(one, streams), race(other, streams.toReversed()), race(one, streams.slice(5))]);
        expect(wins.reduce((sum, count) => sum + count, 0)).toBe(streams.length);
        for (const stream of streams) expect(await one.readStream(stream)).toHaveLength(2);
      }),
    ));

  test('subscriptions outlive the loss of every connection', () =>
    withStore(async (store) => {
      const seen: number[] = [];
      const stream = freshStream();
      store.subscribe({ after: await store.head(), onEvents: (events) => void seen.push(...events.map((event) => event.revision)) });
      await appendOne(store, stream);
      await waitFor(() => seen.length === 1, { describe: 'the first event' });
      await database.pool.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'another'");
      const append = { stream, expectedRevision: 0, events: newEvents(1) };
      const [result] = await waitFor(() => store.append([append]).catch(() => null), { describe: 'an append on a new connection' });
      expect(result?.status).toBe('appended');
      await waitFor(() => seen.length === 2, { describe: 'the event after the loss' });
      expect(seen).toEqual([0, 1]);
    }, eventLoopScheduler));

  test('a retry of two thousand batches finds them all', () =>
    withStore(async (store) => {
      const appends = Array.from({ length: 2_000 }, () => ({ stream: freshStream(), expectedRevision: NO_STREAM, events: newEvents(1) }));
      const first = await store.append(appends);
      const again = await store.append(appends);
      expect(again).toEqual(first.map((result) => ({ ...result, replayed: true })));
    }));

  test('a log whose transaction ids lie ahead of the server, as a dump loaded elsewhere would have, is not ready', async () => {
    const moved = await createTestDatabase({ migrations });
    const store = createPostgresEventStore({ pool: moved.pool, logger });
    try {
      expect(await store.isReady()).toBe(true);
      await moved.pool.query(
        `insert into event_store.events (transaction_id, ordinal, version, revision, id, stream, type, data, metadata)
         values ('9000000000000000000', 1, 1, 0, gen_random_uuid(), 'account-1', 'ThingHappened', '{}', '{}')`,
      );
      expect(await store.isReady()).toBe(false);
    } finally {
      await store.close();
      await moved.drop();
    }
  });

  test('a server that cannot be reached is not ready, and an append to it rejects', async () => {
    const connectionString = 'postgresql://farebox@127.0.0.1:1/nowhere';
    const pool = createPostgresPool({ connectionString, connectionsMax: 1, applicationName: 'nowhere', logger });
    const store = createPostgresEventStore({ pool, logger });
    expect(await store.isReady()).toBe(false);
    await expect(appendOne(store)).rejects.toThrow();
    await expect(store.readAll(BEFORE_EVERYTHING, 1)).rejects.toThrow();
    await store.close();
    await pool.end();
  });
});
