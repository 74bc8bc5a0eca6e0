/** Writes appends of many streams in one round trip, and tells a retried batch from a conflict. */
import type { Pool } from 'pg';
import { BEFORE_EVERYTHING, type Position } from '../../contract/envelope.js';
import type { AppendResult, StreamAppend } from '../event-store.js';
import { positionOf } from './position.js';
import { APPEND, FIND_WRITTEN, SEPARATOR } from './statements.js';

/** Every try but the first sees what the last one collided with, so more than a few mean that something is wrong. */
export const APPEND_ATTEMPTS_MAX = 10;

/**
 * Errors after which nothing of the transaction is left and another try can succeed: unique_violation, serialization_failure,
 * deadlock_detected (appendix A of the Postgres manual).
 */
const COLLISIONS: ReadonlySet<unknown> = new Set(['23505', '40001', '40P01']);

export type AppendBatchResult = {
  /** By index of the appends. */
  readonly results: AppendResult[];
  /** Position of the last event written now, or `BEFORE_EVERYTHING`. */
  readonly newest: Position;
};

type Refusal = { readonly append: StreamAppend; readonly actualRevision: number };
type AppendRow = [xid: string | null, refused: number[] | null, actual: number[] | null];
type WrittenRow = [n: number, id: string, xid: string, ordinal: number];

/** `appends` have been checked and are at least one. Rejects when the outcome is unknown. */
export async function appendBatch(pool: Pool, appends: readonly StreamAppend[]): Promise<AppendBatchResult> {
  // Writers of the same streams take the index entries in the same order and wait for each other instead of deadlocking.
  const sorted = appends.length === 1 ? appends : appends.toSorted((a, b) => (a.stream < b.stream ? -1 : 1));
  const { xid, refusals } = await insertWithRetry(pool, sorted);
  const explained = refusals.size === 0 ? new Map<string, AppendResult>() : await explainRefusals(pool, [...refusals.values()]);
  const accepted = new Map<string, Position>();
  let ordinal = 0;
  let newest: Position = BEFORE_EVERYTHING;
  for (const { stream, events } of sorted) {
    ordinal += events.length;
    if (xid === null || refusals.has(stream)) continue;
    newest = positionOf(xid, ordinal);
    accepted.set(stream, newest);
  }
  const results = appends.map((append): AppendResult => {
    const position = accepted.get(append.stream);
    if (position !== undefined) {
      return { status: 'appended', revision: append.expectedRevision + append.events.length, position, replayed: false };
    }
    const result = explained.get(append.stream);
    if (result === undefined) throw new Error(`no result for stream ${append.stream}`);
    return result;
  });
  return { results, newest };
}

type Inserted = { readonly xid: string | null; readonly refusals: ReadonlyMap<string, Refusal> };

async function insertWithRetry(pool: Pool, appends: readonly StreamAppend[]): Promise<Inserted> {
  const values = parametersOf(appends);
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { rows } = await pool.query<AppendRow>({ ...APPEND, values, rowMode: 'array' });
      const [xid, refused, actual] = rows[0] ?? [null, null, null];
      const refusals = new Map<string, Refusal>();
      for (const [place, n] of (refused ?? []).entries()) {
        const append = appends[n - 1];
        const actualRevision = actual?.[place];
        if (append !== undefined && actualRevision !== undefined) refusals.set(append.stream, { append, actualRevision });
      }
      return { xid, refusals };
    } catch (error) {
      if (attempt === APPEND_ATTEMPTS_MAX || !COLLISIONS.has((error as { code?: unknown }).code)) throw error;
    }
  }
}

function parametersOf(appends: readonly StreamAppend[]): string[] {
  const indexes: number[] = [];
  const streams: string[] = [];
  const revisions: number[] = [];
  const ids: string[] = [];
  const types: string[] = [];
  const versions: number[] = [];
  const bodies: string[] = [];
  const metadata: string[] = [];
  for (let index = 0; index < appends.length; index += 1) {
    const append = appends[index] as StreamAppend;
    let revision = append.expectedRevision;
    for (const event of append.events) {
      revision += 1;
      indexes.push(index + 1);
      streams.push(append.stream);
      revisions.push(revision);
      ids.push(event.id);
      types.push(event.type);
      versions.push(event.version);
      bodies.push(JSON.stringify(event.data));
      metadata.push(JSON.stringify(event.metadata));
    }
  }
  const perStream = [appends.map((append) => append.stream), appends.map((append) => append.expectedRevision)];
  const perEvent = [indexes, streams, revisions, ids, types, versions, bodies, metadata];
  return [...perStream, ...perEvent].map((values) => values.join(SEPARATOR));
}

/** A refused batch that already stands where it belongs, id by id, is an earlier try of itself; anything else is a conflict. */
async function explainRefusals(pool: Pool, refusals: readonly Refusal[]): Promise<Map<string, AppendResult>> {
  const results = new Map<string, AppendResult>();
  for (const { append, actualRevision } of refusals) results.set(append.stream, { status: 'conflict', actualRevision });
  const candidates = refusals.filter(({ append, actualRevision }) => actualRevision >= lastRevisionOf(append));
  if (candidates.length === 0) return results;
  const { rows } = await pool.query<WrittenRow>({
    ...FIND_WRITTEN,
    values: [
      candidates.map(({ append }) => append.stream).join(SEPARATOR),
      candidates.map(({ append }) => append.expectedRevision + 1).join(SEPARATOR),
      candidates.map(({ append }) => lastRevisionOf(append)).join(SEPARATOR),
    ],
    rowMode: 'array',
  });
  let row = 0;
  for (const [index, { append }] of candidates.entries()) {
    let isOurs = true;
    let position: Position = BEFORE_EVERYTHING;
    for (const event of append.events) {
      const [n, id, xid, ordinal] = rows[row] ?? [0, '', '0', 0];
      if (n !== index + 1) throw new Error(`stream ${append.stream} has a gap`);
      row += 1;
      isOurs &&= id === event.id;
      position = positionOf(xid, ordinal);
    }
    if (isOurs) results.set(append.stream, { status: 'appended', revision: lastRevisionOf(append), position, replayed: true });
  }
  return results;
}

function lastRevisionOf(append: StreamAppend): number {
  return append.expectedRevision + append.events.length;
}
