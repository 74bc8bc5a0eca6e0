/** Applies a page of events to the views: rows and checkpoint in one transaction, so that neither is ever ahead of the other. */
import type { ClientBase, Pool } from 'pg';
import type { RecordedEvent } from '../../../events/contract/index.js';
import { applyEvent, noChanges, type ReadModelChanges } from '../domain/read-model-changes.js';
import { readPast } from './read-past.js';
import { type ReadModelSchema, writeChanges, writeCheckpoint } from './write-changes.js';

/** Advisory lock between projection (shared) and the moment a rebuild puts its views in place (exclusive). An arbitrary constant. */
export const READ_MODEL_LOCK = 7_120_417;

/** Applies `events`, in global order, within the caller's transaction. Redelivered ones change nothing. */
export async function applyPage(client: ClientBase, schema: ReadModelSchema, events: readonly RecordedEvent[]): Promise<ReadModelChanges> {
  const past = await readPast(client, schema, events);
  const changes = noChanges();
  for (const event of events) applyEvent(changes, past, event);
  await writeChanges(client, schema, changes);
  const last = events.at(-1);
  if (last !== undefined) await writeCheckpoint(client, schema, last.position, changes.events);
  return changes;
}

/** The live projection's step. */
export async function applyLivePage(pool: Pool, events: readonly RecordedEvent[]): Promise<ReadModelChanges> {
  return inTransaction(pool, async (client) => {
    await client.query('select pg_advisory_xact_lock_shared($1)', [READ_MODEL_LOCK]);
    return applyPage(client, 'read_model', events);
  });
}

/** Runs `work` in a transaction; a failure rolls back and is thrown on. */
export async function inTransaction<Result>(pool: Pool, work: (client: ClientBase) => Promise<Result>): Promise<Result> {
  const client = await pool.connect();
  let failure: Error | undefined;
  try {
    await client.query('begin');
    const result = await work(client);
    await client.query('commit');
    return result;
  } catch (error) {
    failure = error as Error;
    // A connection whose rollback fails too is thrown away by the release below.
    await client.query('rollback').catch(() => {});
    throw error;
  } finally {
    client.release(failure);
  }
}
