/**
 * Builds all views anew from the event store and puts them in place of the old ones, while the live projection and readers go on.
 *
 *     log ──pages──▶ fold (the live projection's own) ──▶ COPY into read_model_rebuild, no indexes
 *                                                     └─▶ keyed views in memory, written at the end
 *     indexes ─▶ lock out the live projection ─▶ catch up with its checkpoint ─▶ swap the schemas ─▶ unlock
 *
 * Memory grows with the number of accounts, open runs and usage rows, not with the length of the log.
 */

import type { ClientBase, Pool } from 'pg';
import type { Logger } from 'pino';
import { BEFORE_EVERYTHING, type Position } from '../../events/contract/index.js';
import type { EventStore } from '../../events/store/event-store.js';
import { applyEvent, noChanges, type PastContext, type ReadModelChanges } from './domain/read-model-changes.js';
import type { RequestChange } from './domain/requests.js';
import { applyPage, inTransaction, READ_MODEL_LOCK } from './postgres/apply-page.js';
import { type BulkCopy, bulkCopy } from './postgres/bulk-copy.js';
import { readCheckpoint } from './postgres/read-past.js';
import { JOURNAL_COLUMNS, REQUEST_COLUMNS, writeChanges, writeCheckpoint } from './postgres/write-changes.js';

/** Events read and folded at once; the architecture page's measurement shows large pages to be the fast ones. */
export const REBUILD_PAGE_EVENTS = 10_000;

export type RebuildResult = { readonly events: number; readonly position: Position; readonly durationMs: number };

export type RebuildOptions = { readonly pool: Pool; readonly store: EventStore; readonly logger: Logger; readonly nowMs: () => number };

export async function rebuildReadModel(options: RebuildOptions): Promise<RebuildResult> {
  const startedMs = options.nowMs();
  const { pool, store, logger } = options;
  await pool.query('drop schema if exists read_model_rebuild cascade');
  await pool.query('create schema read_model_rebuild');
  await cloneTables(pool, ['account_balances', 'usage_quarters', 'consumer_billing', 'trial_balance', 'checkpoints']);
  const bulk = await foldWholeLog(options);
  await createIndexes(pool);
  await inTransaction(pool, async (client) => {
    await writeChanges(client, 'read_model_rebuild', { ...bulk.changes, requests: new Map(), journal: [] });
    await writeCheckpoint(client, 'read_model_rebuild', bulk.position, bulk.changes.events);
  });
  const caughtUp = await catchUp(pool, store);
  const swapped = await swap(pool, store);
  const durationMs = options.nowMs() - startedMs;
  const events = bulk.changes.events + caughtUp + swapped.events;
  logger.info({ events, durationMs, position: swapped.position }, 'read model rebuilt');
  return { events, position: swapped.position, durationMs };
}

/** The bulk of the work: everything up to the head as it stands when the log has been read. */
async function foldWholeLog({ pool, store }: RebuildOptions): Promise<{ changes: ReadModelChanges; position: Position }> {
  const past: PastContext = { accounts: new Map(), openRuns: new Map() };
  const changes = noChanges();
  let position = BEFORE_EVERYTHING;
  // One connection a table: the tables are created in the transaction that fills them, which lets Postgres skip work for them.
  await withBulkTable<RequestChange>(pool, 'requests', REQUEST_COLUMNS, async (requests) => {
    await withBulkTable(pool, 'journal', JOURNAL_COLUMNS, async (journal) => {
      let next = store.readAll(position, REBUILD_PAGE_EVENTS);
      for (;;) {
        const page = await next;
        const last = page.at(-1);
        if (last === undefined) break;
        position = last.position;
        // The next page is read while this one is folded.
        next = store.readAll(position, REBUILD_PAGE_EVENTS);
        next.catch(() => {});
        for (const event of page) applyEvent(changes, past, event);
        await Promise.all([journal.write(changes.journal), requests.write(takeSettled(changes))]);
        changes.journal = [];
      }
      await requests.write([...changes.requests.values()]);
    });
  });
  return { changes, position };
}

/** Takes the runs that have ended out of `changes`; they will not change any more. */
export function takeSettled(changes: ReadModelChanges): RequestChange[] {
  const settled: RequestChange[] = [];
  for (const request of changes.requests.values()) {
    if (request.settled === null) continue;
    settled.push(request);
    changes.requests.delete(request.runId);
  }
  return settled;
}

async function withBulkTable<Row>(
  pool: Pool,
  table: string,
  columns: Parameters<typeof bulkCopy<Row>>[2],
  work: (copy: BulkCopy<Row>) => Promise<void>,
): Promise<void> {
  await inUnboundedTransaction(pool, async (client) => {
    await cloneTables(client, [table]);
    const copy = bulkCopy(client, `read_model_rebuild.${table}`, columns);
    await work(copy);
    await copy.end();
  });
}

/** The pool's limit on a statement is meant for requests; a rebuild's take as long as the log is. */
function inUnboundedTransaction<Result>(pool: Pool, work: (client: ClientBase) => Promise<Result>): Promise<Result> {
  return inTransaction(pool, async (client) => {
    await client.query('set local statement_timeout = 0');
    return work(client);
  });
}

async function cloneTables(client: ClientBase | Pool, tables: readonly string[]): Promise<void> {
  for (const table of tables) {
    await client.query(`create table read_model_rebuild.${table} (like read_model.${table} including defaults including constraints)`);
  }
}

/** Gives the new tables the indexes and keys of those they will replace. */
async function createIndexes(pool: Pool): Promise<void> {
  const { rows } = await pool.query<{ table_name: string; index_name: string; definition: string; is_primary: boolean }>(
    `select c.relname as table_name, i.relname as index_name, pg_get_indexdef(x.indexrelid) as definition, x.indisprimary as is_primary
     from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class c on c.oid = x.indrelid
     where c.relnamespace = 'read_model'::regnamespace`,
  );
  await Promise.all(
    rows.map(({ table_name, index_name, definition, is_primary }) =>
      inUnboundedTransaction(pool, async (client) => {
        await client.query(definition.replace(' ON read_model.', ' ON read_model_rebuild.'));
        if (is_primary) await client.query(`alter table read_model_rebuild.${table_name} add primary key using index ${index_name}`);
      }),
    ),
  );
  await inUnboundedTransaction(pool, (client) => client.query('analyze read_model_rebuild.requests, read_model_rebuild.journal'));
}

/** Applies what has been appended since, page by page, until little is left. Returns the number of events. */
async function catchUp(pool: Pool, store: EventStore): Promise<number> {
  let events = 0;
  for (;;) {
    const page = await store.readAll(await readCheckpoint(pool, 'read_model_rebuild'), REBUILD_PAGE_EVENTS);
    if (page.length > 0) await inTransaction(pool, (client) => applyPage(client, 'read_model_rebuild', page));
    events += page.length;
    if (page.length < REBUILD_PAGE_EVENTS) return events;
  }
}

/** With the live projection locked out: at least what it has applied, then the new views take the old ones' name. */
async function swap(pool: Pool, store: EventStore): Promise<{ events: number; position: Position }> {
  return inTransaction(pool, async (client) => {
    await client.query('select pg_advisory_xact_lock($1)', [READ_MODEL_LOCK]);
    const livePosition = await readCheckpoint(client, 'read_model');
    let position = await readCheckpoint(client, 'read_model_rebuild');
    let events = 0;
    while (position < livePosition) {
      const page = await store.readAll(position, REBUILD_PAGE_EVENTS);
      if (page.length === 0) break;
      await applyPage(client, 'read_model_rebuild', page);
      events += page.length;
      position = page.at(-1)?.position ?? position;
    }
    await client.query('drop schema read_model cascade');
    await client.query('alter schema read_model_rebuild rename to read_model');
    return { events, position };
  });
}
