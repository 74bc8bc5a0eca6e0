/**
 * Builds all views anew from the event store and puts them in place of the old ones, while the live projection and readers go on.
 *
 *     log ──pages──▶ fold (the live projection's own) ──▶ COPY into read_model_rebuild, no indexes
 *                                                     └─▶ keyed views in memory, written at the end
 *     indexes ─▶ catch up ─▶ lock out the live projection ─▶ catch up with its checkpoint ─▶ swap the schemas ─▶ unlock
 *
 * Memory grows with the number of accounts and open runs and is bounded in the number of usage rows; the length of the log does not matter.
 * Where the event store lives in the same database, live readers of the log wait while an index is built (some seconds per million
 * requests).
 */
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { BEFORE_EVERYTHING, type Position } from '../../events/contract/index.js';
import type { EventStore } from '../../events/store/event-store.js';
import { inTransaction } from '../../platform/postgres/transactions.js';
import { applyEvent, noChanges, type PastContext, type ReadModelChanges } from './domain/read-model-changes.js';
import { takeSettled } from './domain/requests.js';
import { applyPage, READ_MODEL_LOCK } from './postgres/apply-page.js';
import { type BulkTable, fillTable, openBulkTable } from './postgres/bulk-table.js';
import {
  ACCOUNT_BALANCE_COLUMNS,
  CONSUMER_BILLING_COLUMNS,
  JOURNAL_COLUMNS,
  PAYMENT_COLUMNS,
  REQUEST_COLUMNS,
  TRIAL_BALANCE_COLUMNS,
  USAGE_QUARTER_COLUMNS,
} from './postgres/columns.js';
import { readCheckpoint } from './postgres/read-past.js';
import {
  addUpUsage,
  createIndexes,
  createRebuildSchema,
  createUsageParts,
  dropReplacedSchema,
  REBUILD_SCHEMA,
  swapSchemas,
  USAGE_PARTS,
} from './postgres/rebuild-schema.js';
import { writeCheckpoint } from './postgres/write-changes.js';

/**
 * Events read and folded at once. Pages of 10,000 cost half as much again per event: their rows outlive the young generation, and the
 * garbage collector copies them.
 */
export const REBUILD_PAGE_EVENTS = 1_000;

/** Usage rows kept in memory, about half a kilobyte each; beyond, they are put aside as partial sums. */
export const USAGE_ROWS_MAX = 500_000;

/** Events that a transaction of catching up applies. */
const CATCH_UP_PAGE_EVENTS = 10_000;

/** Advisory lock of the one rebuild that may run. An arbitrary constant. */
const REBUILD_LOCK = 7_120_419;

/** How often a rebuild says how far it is. */
const PROGRESS_EVENTS = 1_000_000;

export type RebuildResult = { readonly events: number; readonly position: Position; readonly durationMs: number };

export type RebuildOptions = {
  readonly pool: Pool;
  readonly store: EventStore;
  readonly logger: Logger;
  readonly nowMs: () => number;
  /** `USAGE_ROWS_MAX` unless a test wants the bound to be reached. */
  readonly usageRowsMax?: number;
};

/** Another rebuild of these views is under way. */
export class RebuildRunningError extends Error {
  override readonly name = 'RebuildRunningError';
}

/** The views have applied events that the store does not hold: this is not their log. */
export class ForeignLogError extends Error {
  override readonly name = 'ForeignLogError';
}

/** Needs five connections of the pool at once. Throws `RebuildRunningError`, `ForeignLogError`, and what the fold throws. */
export async function rebuildReadModel(options: RebuildOptions): Promise<RebuildResult> {
  const startedMs = options.nowMs();
  const { pool, store, logger } = options;
  return withRebuildLock(pool, async () => {
    await createRebuildSchema(pool);
    const bulk = await foldWholeLog(options);
    await writeKeyedViews(pool, bulk.changes);
    await createIndexes(pool);
    await inTransaction(pool, (client) => writeCheckpoint(client, REBUILD_SCHEMA, bulk.position, bulk.changes.events));
    const caughtUp = await catchUp(pool, store);
    const swapped = await swap(pool, store);
    const events = bulk.changes.events + caughtUp + swapped.events;
    const durationMs = options.nowMs() - startedMs;
    logger.info({ events, durationMs, position: swapped.position }, 'read model rebuilt');
    await dropReplacedSchema(pool).catch((error: unknown) =>
      logger.warn({ err: error }, 'replaced views not dropped; the next rebuild will'),
    );
    return { events, position: swapped.position, durationMs };
  });
}

/** A session's lock ends with the session, so a rebuild that was killed does not keep others out. */
async function withRebuildLock<Result>(pool: Pool, work: () => Promise<Result>): Promise<Result> {
  const client = await pool.connect();
  try {
    const { rows } = await client.query<{ isFree: boolean }>('select pg_try_advisory_lock($1) as "isFree"', [REBUILD_LOCK]);
    if (rows[0]?.isFree !== true) throw new RebuildRunningError('another rebuild of the read model is running');
    return await work();
  } finally {
    client.release(true);
  }
}

/** The bulk of the work: everything up to the end of the log as it stands when it has been read. */
async function foldWholeLog(options: RebuildOptions): Promise<{ changes: ReadModelChanges; position: Position }> {
  const { pool, store, logger } = options;
  const changes = noChanges();
  const usage = usageView(pool, changes, options.usageRowsMax ?? USAGE_ROWS_MAX);
  const tables: BulkTable<never>[] = [];
  try {
    const requests = await openBulkTable(pool, `${REBUILD_SCHEMA}.requests`, REQUEST_COLUMNS);
    tables.push(requests);
    const journal = await openBulkTable(pool, `${REBUILD_SCHEMA}.journal`, JOURNAL_COLUMNS);
    tables.push(journal);
    const past: PastContext = { accounts: new Map(), openRuns: new Map() };
    let position = BEFORE_EVERYTHING;
    for await (const page of pagesOf(store, REBUILD_PAGE_EVENTS)) {
      for (const event of page) applyEvent(changes, past, event);
      position = page.at(-1)?.position ?? position;
      await Promise.all([journal.write(changes.journal), requests.write(takeSettled(changes.requests))]);
      changes.journal = [];
      await usage.afterPage();
      if (changes.events % PROGRESS_EVENTS < page.length) logger.info({ events: changes.events }, 'rebuilding the read model');
    }
    await requests.write([...changes.requests.values()]);
    await Promise.all(tables.map((table) => table.end()));
    await usage.end();
    return { changes, position };
  } catch (error) {
    await Promise.all(tables.map((table) => table.abort(error as Error)));
    throw error;
  }
}

/** Keeps the number of usage rows in memory bounded, and writes the view in the end. */
function usageView(pool: Pool, { usageQuarters }: ReadModelChanges, rowsMax: number) {
  let isInParts = false;
  const putAside = async () => {
    if (!isInParts) await createUsageParts(pool);
    isInParts = true;
    await fillTable(pool, USAGE_PARTS, USAGE_QUARTER_COLUMNS, usageQuarters.values());
    usageQuarters.clear();
  };
  return {
    async afterPage() {
      if (usageQuarters.size >= rowsMax) await putAside();
    },
    async end() {
      if (!isInParts) {
        await fillTable(pool, `${REBUILD_SCHEMA}.usage_quarters`, USAGE_QUARTER_COLUMNS, usageQuarters.values());
        return;
      }
      await putAside();
      await addUpUsage(pool);
    },
  };
}

/** The log from its beginning. The next page is read while the one handed out is folded. */
export async function* pagesOf(store: EventStore, pageEvents: number) {
  let next = store.readAll(BEFORE_EVERYTHING, pageEvents);
  for (;;) {
    const page = await next;
    const last = page.at(-1);
    if (last === undefined) return;
    next = store.readAll(last.position, pageEvents);
    // Awaited by the next turn, if there is one.
    next.catch(() => {});
    yield page;
  }
}

/** The views that have as many rows as there are accounts, or payments. */
async function writeKeyedViews(pool: Pool, changes: ReadModelChanges): Promise<void> {
  const table = (name: string) => `${REBUILD_SCHEMA}.${name}`;
  await fillTable(pool, table('account_balances'), ACCOUNT_BALANCE_COLUMNS, changes.accountBalances.values());
  await fillTable(pool, table('consumer_billing'), CONSUMER_BILLING_COLUMNS, changes.consumerBilling.values());
  await fillTable(pool, table('trial_balance'), TRIAL_BALANCE_COLUMNS, changes.trialBalance.values());
  await fillTable(pool, table('payments'), PAYMENT_COLUMNS, changes.payments.values());
}

/** Applies what has been appended since, page by page, until little is left. Returns the number of events. */
async function catchUp(pool: Pool, store: EventStore): Promise<number> {
  let events = 0;
  for (;;) {
    const page = await store.readAll(await readCheckpoint(pool, REBUILD_SCHEMA), CATCH_UP_PAGE_EVENTS);
    await inTransaction(pool, (client) => applyPage(client, REBUILD_SCHEMA, page));
    events += page.length;
    if (page.length < CATCH_UP_PAGE_EVENTS) return events;
  }
}

/** With the live projection locked out: at least what it has applied, then the new views take the old ones' name. */
async function swap(pool: Pool, store: EventStore): Promise<{ events: number; position: Position }> {
  return inTransaction(pool, async (client) => {
    await client.query('select pg_advisory_xact_lock($1)', [READ_MODEL_LOCK]);
    const livePosition = await readCheckpoint(client, 'read_model');
    let position = await readCheckpoint(client, REBUILD_SCHEMA);
    let events = 0;
    while (position < livePosition) {
      const page = await store.readAll(position, CATCH_UP_PAGE_EVENTS);
      const last = page.at(-1);
      if (last === undefined) throw new ForeignLogError(`the views stand at ${livePosition}, the log ends at ${position}`);
      await applyPage(client, REBUILD_SCHEMA, page);
      events += page.length;
      position = last.position;
    }
    await swapSchemas(client);
    return { events, position };
  });
}
