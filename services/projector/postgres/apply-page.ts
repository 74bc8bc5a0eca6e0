/** Applies a page of events to the views: rows and checkpoint in one transaction, so that neither is ever ahead of the other. */
import type { ClientBase, Pool } from 'pg';
import type { RecordedEvent } from '../../../events/contract/index.js';
import { inTransaction } from '../../../platform/postgres/transactions.js';
import { applyEvent, noChanges, type ReadModelChanges } from '../domain/read-model-changes.js';
import { readPast } from './read-past.js';
import { type ReadModelSchema, writePage } from './write-changes.js';

/** Advisory lock between projection (shared) and the moment a rebuild puts its views in place (exclusive). An arbitrary constant. */
export const READ_MODEL_LOCK = 7_120_417;

/** Begins a transaction that a rebuild waits for before it swaps; and if a rebuild is swapping, waits for that. */
export const BEGIN_WITH_READ_MODEL = `begin; select pg_advisory_xact_lock_shared(${READ_MODEL_LOCK})`;

/**
 * Applies `events`, ordered within each stream, within the caller's transaction. Redelivered ones change nothing. Throws
 * `RevisionGapError` and `BrokenBooksError`.
 */
export async function applyPage(client: ClientBase, schema: ReadModelSchema, events: readonly RecordedEvent[]): Promise<ReadModelChanges> {
  const changes = noChanges();
  if (events.length === 0) return changes;
  const past = await readPast(client, schema, events);
  const knownAccounts = new Set(past.accounts.keys());
  let position = '';
  for (const event of events) {
    applyEvent(changes, past, event);
    if (event.position > position) position = event.position;
  }
  await writePage(client, schema, { changes, knownAccounts, position });
  return changes;
}

/** The live projection's step. */
export function applyLivePage(pool: Pool, events: readonly RecordedEvent[]): Promise<ReadModelChanges> {
  return inTransaction(pool, (client) => applyPage(client, 'read_model', events), BEGIN_WITH_READ_MODEL);
}
