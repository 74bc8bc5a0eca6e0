/** A rebuild gives the live projection's rows, while both go on, and leaves everything as it was when it fails. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { InProcessBus } from '../../events/bus/in-process/in-process-bus.js';
import { startRelay } from '../../events/relay/relay.js';
import type { EventStore } from '../../events/store/event-store.js';
import { createMemoryEventStore } from '../../events/store/memory/memory-event-store.js';
import { createPostgresEventStore } from '../../events/store/postgres/postgres-event-store.js';
import { systemClock } from '../../platform/clock.js';
import { createMetrics } from '../../platform/metrics.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import type { TestDatabase } from '../../platform/testing/postgres-for-tests.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { RevisionGapError } from './domain/read-model-changes.js';
import { applyLivePage } from './postgres/apply-page.js';
import { readCheckpoint } from './postgres/read-past.js';
import { projectionCheckpoint, startProjector } from './projector.js';
import { ForeignLogError, type RebuildOptions, RebuildRunningError, rebuildReadModel } from './rebuild.js';
import { appendHistories, emptyViews, openProjectorDatabase, readViews, silent, storeWith } from './testing/projector-database.js';
import { verifyReadModel } from './verify.js';

const HISTORY = { accounts: 6, runsPerAccount: 12, openRuns: 2, overlap: 1, stepMs: 400_000 };

let database: TestDatabase;
beforeEach(async () => {
  database = await openProjectorDatabase();
});
afterEach(() => database.drop());

const rebuild = (store: EventStore, options: Partial<RebuildOptions> = {}) =>
  rebuildReadModel({ pool: database.pool, store, logger: silent, nowMs: Date.now, ...options });

async function projectLive(store: EventStore): Promise<void> {
  await applyLivePage(database.pool, await store.readAll('', 10_000));
}

/** Everything about the tables but their rows. */
async function structure(): Promise<unknown> {
  const { rows } = await database.pool.query(
    `select c.relname, c.relkind, c.reloptions, pg_get_indexdef(c.oid) as index,
            (select json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation) order by a.attnum)
             from pg_attribute a where a.attrelid = c.oid and a.attnum > 0) as columns,
            (select json_agg(json_build_array(k.conname, pg_get_constraintdef(k.oid)) order by k.conname) from pg_constraint k where k.conrelid = c.oid) as constraints
     from pg_class c where c.relnamespace = 'read_model'::regnamespace order by c.relname`,
  );
  return rows;
}

async function schemas(): Promise<string[]> {
  const { rows } = await database.pool.query<{ name: string }>(
    "select nspname as name from pg_namespace where nspname like 'read%' order by 1",
  );
  return rows.map(({ name }) => name);
}

describe('what a rebuild makes', () => {
  test('the rows of the live projection, in the same tables with the same keys', async () => {
    const store = await storeWith(HISTORY);
    await projectLive(store);
    const [live, tables] = [await readViews(database.pool), await structure()];
    const { events, position } = await rebuild(store);
    expect(await readViews(database.pool)).toEqual(live);
    expect(await structure()).toEqual(tables);
    expect([events, position, await schemas()]).toEqual([6 * (3 + 12 + 10 * 3), await store.head(), ['read_model']]);
    await rebuild(store);
    expect(await readViews(database.pool)).toEqual(live);
  });

  test('the same from nothing, and from a log of nothing', async () => {
    const store = await storeWith(HISTORY);
    await rebuild(store);
    const rebuilt = await readViews(database.pool);
    await emptyViews(database.pool);
    await projectLive(store);
    expect(rebuilt).toEqual(await readViews(database.pool));
    await emptyViews(database.pool);
    expect(await rebuild(createMemoryEventStore())).toMatchObject({ events: 0, position: '' });
  });

  test('the same when there are more usage rows than it keeps in memory', async () => {
    const store = await storeWith(HISTORY);
    await projectLive(store);
    const live = await readViews(database.pool);
    await rebuild(store, { usageRowsMax: 1 });
    expect(await readViews(database.pool)).toEqual(live);
    expect(live['usage_quarters']?.length).toBeGreaterThan(10);
  });
});

describe('a rebuild that cannot be', () => {
  test('fails on a broken log and leaves the views alone', async () => {
    const store = await storeWith(HISTORY);
    await projectLive(store);
    const live = await readViews(database.pool);
    const broken: EventStore = {
      ...store,
      readAll: async (after, maxCount) => (await store.readAll(after, Math.min(maxCount, 50))).filter((event) => event.revision !== 9),
    };
    await expect(rebuild(broken)).rejects.toBeInstanceOf(RevisionGapError);
    expect(await readViews(database.pool)).toEqual(live);
    await rebuild(store);
    expect([await readViews(database.pool), await schemas()]).toEqual([live, ['read_model']]);
  });

  test('refuses a log that lacks what the views hold', async () => {
    const store = await storeWith(HISTORY);
    await projectLive(store);
    const live = await readViews(database.pool);
    await expect(rebuild(createMemoryEventStore())).rejects.toBeInstanceOf(ForeignLogError);
    expect(await readViews(database.pool)).toEqual(live);
  });

  test('does not run beside another', async () => {
    const store = await storeWith(HISTORY);
    const results = await Promise.allSettled([rebuild(store), rebuild(store)]);
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    expect(failures).toEqual([expect.any(RebuildRunningError)]);
    expect((await verifyReadModel(database.pool, store)).discrepancies).toEqual([]);
  });
});

test('a rebuild among writers, the live projection and readers loses nothing and shows nobody half a view', async () => {
  const { pool } = database;
  const store = createPostgresEventStore({ pool, logger: silent });
  const bus = new InProcessBus({ scheduler: eventLoopScheduler });
  const projector = await startProjector({ pool, bus, clock: systemClock, logger: silent, metrics: createMetrics() });
  const checkpoints = { load: () => projectionCheckpoint(pool), save: () => Promise.resolve() };
  const relay = await startRelay({ store, bus, checkpoints, onError: () => {} });

  let isWriting = true;
  const writing = (async () => {
    await appendHistories(store, { accounts: 30, runsPerAccount: 40, overlap: 1 });
    isWriting = false;
  })();
  let fewest = 0;
  const reading = (async () => {
    while (isWriting) {
      const { rows } = await pool.query<{ lines: number }>({
        name: 'lines',
        text: 'select count(*)::integer as lines from read_model.journal',
      });
      const lines = rows[0]?.lines ?? 0;
      // The views only ever grow; a swap to older or half-made ones would show here.
      expect(lines).toBeGreaterThanOrEqual(fewest);
      fewest = lines;
    }
  })();
  let rebuilds = 0;
  while (isWriting) {
    await rebuild(store);
    rebuilds += 1;
  }
  await Promise.all([writing, reading]);
  const head = await store.head();
  await waitFor(() => projector.position() >= head, { describe: () => `${head} in the views; they are at ${projector.position()}` });
  expect(rebuilds).toBeGreaterThanOrEqual(1);
  expect(projector.failure()).toBeNull();
  expect(await readCheckpoint(pool, 'read_model')).toBe(head);
  expect(await verifyReadModel(pool, store)).toMatchObject({ events: 30 * (3 + 40 * 4), discrepancies: [] });
  await relay.stop();
  await projector.stop();
  await bus.close();
  await store.close();
});
