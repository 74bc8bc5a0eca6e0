/** A database with the event store and the read models, for one test file, and what tests want to know of it. */
import type { Pool } from 'pg';
import { pino } from 'pino';
import type { EventStore } from '../../../events/store/event-store.js';
import { createMemoryEventStore } from '../../../events/store/memory/memory-event-store.js';
import { packageFile } from '../../../platform/package-root.js';
import { createTestDatabase, type TestDatabase } from '../../../platform/testing/postgres-for-tests.js';
import { type HistoryOptions, makeStreamHistories } from './histories.js';

export const silent = pino({ level: 'silent' });

export const VIEWS: Readonly<Record<string, string>> = {
  account_balances: 'account_id',
  requests: 'run_id',
  usage_quarters: 'project_id, quarter_start, consumer_id, model',
  consumer_billing: 'consumer_id',
  journal: 'account_id, revision, line',
  trial_balance: 'unit, environment, ledger_account',
  payments: 'payment_id',
};

export function openProjectorDatabase(): Promise<TestDatabase> {
  const migrations = [
    { owner: 'event-store', folder: packageFile('events/store/postgres/migrations/') },
    { owner: 'projector', folder: packageFile('services/projector/migrations/') },
  ];
  return createTestDatabase({ migrations, connectionsMax: 10 });
}

export async function emptyViews(pool: Pool): Promise<void> {
  await pool.query(`truncate ${[...Object.keys(VIEWS), 'checkpoints'].map((view) => `read_model.${view}`).join(', ')}`);
}

export type ViewRows = Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;

/** Every row of every view. Two databases that hold the same log give equal answers. */
export async function readViews(pool: Pool): Promise<ViewRows> {
  const views: Record<string, readonly Readonly<Record<string, unknown>>[]> = {};
  for (const [view, key] of Object.entries(VIEWS))
    views[view] = (await pool.query(`select * from read_model.${view} order by ${key}`)).rows;
  return views;
}

/** Appends histories in pieces, the streams taking turns. */
export async function appendHistories(store: EventStore, options: HistoryOptions, pieceEvents = 3): Promise<void> {
  const histories = makeStreamHistories(options);
  for (let from = 0; ; from += pieceEvents) {
    const appends = histories
      .map(({ stream, events }) => ({ stream, expectedRevision: from - 1, events: events.slice(from, from + pieceEvents) }))
      .filter(({ events }) => events.length > 0);
    if (appends.length === 0) return;
    const results = await store.append(appends);
    if (results.some((result) => result.status !== 'appended')) throw new Error('a history was not appended');
  }
}

/** A log in memory: the store is not what these tests are about. */
export async function storeWith(options: HistoryOptions): Promise<EventStore> {
  const store = createMemoryEventStore();
  await appendHistories(store, options);
  return store;
}
