/** The views on a real Postgres: live, redelivered and rebuilt, they are the fold of the log. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Pool } from 'pg';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { InProcessBus } from '../../events/bus/in-process/in-process-bus.js';
import type { RecordedEvent } from '../../events/contract/index.js';
import { startRelay } from '../../events/relay/relay.js';
import { createMemoryEventStore } from '../../events/store/memory/memory-event-store.js';
import { systemClock } from '../../platform/clock.js';
import { packageFile } from '../../platform/package-root.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { createTestDatabase, type TestDatabase } from '../../platform/testing/postgres-for-tests.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { applyLivePage } from './postgres/apply-page.js';
import { projectionCheckpoint, startProjector } from './projector.js';
import { rebuildReadModel } from './rebuild.js';
import { makeStreamHistories } from './testing/histories.js';
import { verifyReadModel } from './verify.js';

const logger = pino({ level: 'silent' });
const TABLES = ['account_balances', 'requests', 'usage_quarters', 'consumer_billing', 'journal', 'trial_balance'];
const store = createMemoryEventStore();
let database: TestDatabase;
let pool: Pool;
let log: RecordedEvent[];

beforeAll(async () => {
  database = await createTestDatabase({ migrations: [{ owner: 'projector', folder: packageFile('services/projector/migrations/') }] });
  pool = database.pool;
  // Interleaved in pieces of seven events, so that the facts of a run fall on different pages.
  const histories = makeStreamHistories({ accounts: 6, runsPerAccount: 40, openRuns: 3, stepMs: 100_000 });
  const longest = Math.max(...histories.map((history) => history.events.length));
  for (let from = 0; from < longest; from += 7) {
    for (const { stream, events } of histories) {
      const piece = events.slice(from, from + 7);
      if (piece.length > 0) await store.append([{ stream, expectedRevision: from - 1, events: piece }]);
    }
  }
  log = await store.readAll('', 10_000);
});

afterAll(() => database.drop());

async function contents(): Promise<unknown[]> {
  return Promise.all(
    TABLES.map(async (table) => {
      const { rows } = await pool.query(`select * from read_model.${table} t order by t::text`);
      return rows;
    }),
  );
}

let live: unknown[];

test('pages of any size, some delivered twice, give views that agree with the log', async () => {
  for (let from = 0; from < log.length; from += 13) {
    await applyLivePage(pool, log.slice(from, from + 13));
    if (from % 5 === 0) await applyLivePage(pool, log.slice(Math.max(0, from - 20), from + 13));
  }
  const verification = await verifyReadModel(pool, store);
  expect(verification).toMatchObject({ events: log.length, discrepancies: [] });
  live = await contents();
  expect(live.every((rows) => (rows as unknown[]).length > 0)).toBe(true);
});

test('a rebuild gives the same rows, keys and indexes', async () => {
  const indexes = async () => (await pool.query(`select indexdef from pg_indexes where schemaname = 'read_model' order by indexdef`)).rows;
  const before = await indexes();
  const { events } = await rebuildReadModel({ pool, store, logger, nowMs: Date.now });
  expect(events).toBe(log.length);
  expect(await contents()).toEqual(live);
  expect(await indexes()).toEqual(before);
});

test('a falsified view is found', async () => {
  await pool.query(
    `update read_model.requests set completion_tokens = completion_tokens + 1 where run_id = (select min(run_id) from read_model.requests where charged_nanos > 0)`,
  );
  const { discrepancies } = await verifyReadModel(pool, store);
  expect(discrepancies.map((discrepancy) => discrepancy.check)).toEqual([expect.stringMatching(/^requests acc_\w+ completion_tokens$/)]);
  await rebuildReadModel({ pool, store, logger, nowMs: Date.now });
  expect((await verifyReadModel(pool, store)).discrepancies).toEqual([]);
});

test('a failed page leaves neither rows nor checkpoint', async () => {
  const before = [await contents(), await projectionCheckpoint(pool)];
  const last = log.at(-1) as RecordedEvent;
  const gap = { ...last, revision: last.revision + 2, position: `${last.position}z` };
  await expect(applyLivePage(pool, [gap])).rejects.toThrow('jumps from revision');
  expect([await contents(), await projectionCheckpoint(pool)]).toEqual(before);
});

test('the live projection follows the store through relay and bus, also while it is rebuilt under its feet', async () => {
  const bus = new InProcessBus({ scheduler: eventLoopScheduler });
  const projector = await startProjector({ pool, bus, clock: systemClock, logger, metrics: new Registry() });
  const checkpoints = { load: () => projectionCheckpoint(pool), save: () => Promise.resolve() };
  const relay = await startRelay({ store, bus, checkpoints, scheduler: eventLoopScheduler, onError: () => {} });
  const fresh = makeStreamHistories({ accounts: 12, runsPerAccount: 30 }).slice(6);
  const rebuilding = rebuildReadModel({ pool, store, logger, nowMs: Date.now });
  for (const { stream, events } of fresh) await store.append([{ stream, expectedRevision: -1, events }]);
  await rebuilding;
  const head = await store.head();
  await waitFor(() => projector.position() >= head, { describe: 'the projector to reach the head' });
  expect(await verifyReadModel(pool, store)).toMatchObject({ discrepancies: [], position: head });
  await relay.stop();
  await projector.stop();
  await bus.close();
});
