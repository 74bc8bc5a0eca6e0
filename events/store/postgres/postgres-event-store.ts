/**
 * EventStore on Postgres: append-only, gap-safe under concurrent writers, many streams in one round trip.
 *
 * Readers stay below the oldest open transaction of the database, so a long one anywhere in it delays subscribers (never writers): keep
 * transactions short, and reports that take long in a database of their own.
 */
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { BEFORE_EVERYTHING, type EventMetadata, type JsonObject, type Position, type RecordedEvent } from '../../contract/envelope.js';
import { type AppendResult, type EventStore, NO_STREAM, type StreamAppend } from '../event-store.js';
import { followLog, type LogFollower } from '../follow-log.js';
import { checkAppends, checkReadCount, checkRevision, checkStreamName } from '../store-bounds.js';
import { APPEND, READ_ALL, READ_HEAD, READ_STREAM, STREAM_REVISIONS } from './statements.js';

/** Appends of this process wake its own subscribers at once; those of other processes are found this much later. */
export const POLL_EVERY_MS = 200;

export type PostgresEventStoreOptions = {
  readonly pool: Pool;
  readonly logger: Logger;
};

type EventRow = {
  readonly position: Position;
  readonly stream: string;
  readonly revision: number;
  readonly id: string;
  readonly type: string;
  readonly version: number;
  readonly data: JsonObject;
  readonly metadata: EventMetadata;
};

export function createPostgresEventStore({ pool, logger }: PostgresEventStoreOptions): EventStore {
  const followers = new Set<LogFollower>();
  let isClosed = false;
  const assertOpen = () => {
    if (isClosed) throw new Error('the event store is closed');
  };
  const readAll = async (after: Position, maxCount: number): Promise<RecordedEvent[]> => {
    const [transactionId, sequence] = partsOf(after);
    const { rows } = await pool.query<EventRow>({ ...READ_ALL, values: [transactionId, sequence, maxCount] });
    return rows;
  };
  return {
    async append(appends) {
      checkAppends(appends);
      assertOpen();
      const accepted = await writeAppends(pool, appends);
      let newest = BEFORE_EVERYTHING;
      for (const position of accepted.values()) if (position > newest) newest = position;
      if (newest !== BEFORE_EVERYTHING) for (const follower of followers) follower.wake(newest);
      const refused = appends.filter((_, index) => !accepted.has(index));
      const explained = refused.length === 0 ? new Map<string, AppendResult>() : await explainRefusals(pool, refused);
      return appends.map((append, index) => {
        const position = accepted.get(index);
        if (position === undefined) return explained.get(append.stream) as AppendResult;
        return { status: 'appended', revision: append.expectedRevision + append.events.length, position, replayed: false };
      });
    },
    async readStream(stream, read = {}) {
      checkStreamName(stream);
      const from = checkRevision(read.fromRevision ?? 0);
      const maxCount = checkReadCount(read.maxCount);
      assertOpen();
      return readStreamRows(pool, stream, from, maxCount);
    },
    async readAll(after, maxCount) {
      checkReadCount(maxCount);
      assertOpen();
      return readAll(after, maxCount);
    },
    async head() {
      assertOpen();
      const { rows } = await pool.query<{ position: Position }>(READ_HEAD);
      return rows[0]?.position ?? BEFORE_EVERYTHING;
    },
    subscribe(subscription) {
      assertOpen();
      partsOf(subscription.after);
      const onError = (error: unknown) => {
        logger.warn({ err: error }, 'subscription failed, will try again');
        subscription.onError?.(error);
      };
      const follower = followLog({ ...subscription, onError, scheduler: eventLoopScheduler, pollEveryMs: POLL_EVERY_MS, read: readAll });
      followers.add(follower);
      return {
        stop() {
          followers.delete(follower);
          return follower.stop();
        },
      };
    },
    async isReady() {
      if (isClosed) return false;
      // A server that is starting, stopping or a standby answers reads before it takes writes.
      return pool.query<{ isWritable: boolean }>('select not pg_is_in_recovery() as "isWritable"').then(
        ({ rows }) => rows[0]?.isWritable === true,
        () => false,
      );
    },
    async close() {
      isClosed = true;
      await Promise.all([...followers].map((follower) => follower.stop()));
      followers.clear();
    },
  };
}

/** Index of each accepted append, with the position of its last event. */
async function writeAppends(pool: Pool, appends: readonly StreamAppend[]): Promise<Map<number, Position>> {
  const indexes: number[] = [];
  const revisions: number[] = [];
  const ids: string[] = [];
  const types: string[] = [];
  const versions: number[] = [];
  const bodies: string[] = [];
  const metadata: string[] = [];
  for (const [index, { expectedRevision, events }] of appends.entries()) {
    for (const [offset, event] of events.entries()) {
      indexes.push(index + 1);
      revisions.push(expectedRevision + 1 + offset);
      ids.push(event.id);
      types.push(event.type);
      versions.push(event.version);
      bodies.push(JSON.stringify(event.data));
      metadata.push(JSON.stringify(event.metadata));
    }
  }
  const streams = appends.map((append) => append.stream);
  const expected = appends.map((append) => append.expectedRevision);
  const added = appends.map((append) => append.events.length);
  const { rows } = await pool.query<{ n: number; position: Position }>({
    ...APPEND,
    values: [streams, expected, added, indexes, revisions, ids, types, versions, bodies, metadata],
  });
  return new Map(rows.map((row) => [row.n - 1, row.position]));
}

/** Tells an earlier try of the same batch from somebody else's write. */
async function explainRefusals(pool: Pool, refused: readonly StreamAppend[]): Promise<Map<string, AppendResult>> {
  const { rows } = await pool.query<{ stream: string; revision: number }>({
    ...STREAM_REVISIONS,
    values: [refused.map((append) => append.stream)],
  });
  const actual = new Map(rows.map((row) => [row.stream, row.revision]));
  const results = new Map<string, AppendResult>();
  for (const append of refused) results.set(append.stream, await explainRefusal(pool, append, actual.get(append.stream) ?? NO_STREAM));
  return results;
}

async function explainRefusal(pool: Pool, append: StreamAppend, actualRevision: number): Promise<AppendResult> {
  const written = await readStreamRows(pool, append.stream, append.expectedRevision + 1, append.events.length);
  const last = written.at(-1);
  const isOurs =
    last !== undefined && written.length === append.events.length && append.events.every((event, index) => written[index]?.id === event.id);
  if (isOurs) return { status: 'appended', revision: last.revision, position: last.position, replayed: true };
  return { status: 'conflict', actualRevision };
}

async function readStreamRows(pool: Pool, stream: string, from: number, maxCount: number): Promise<RecordedEvent[]> {
  const { rows } = await pool.query<EventRow>({ ...READ_STREAM, values: [stream, from, maxCount] });
  return rows;
}

const POSITION_PATTERN = /^(\d{20})-(\d{19})$/;

/** Transaction id and sequence of a position. Throws `RangeError` for a position of another store. */
function partsOf(position: Position): readonly [transactionId: string, sequence: string] {
  if (position === BEFORE_EVERYTHING) return ['0', '0'];
  const match = POSITION_PATTERN.exec(position);
  if (match === null) throw new RangeError(`${position} is no position of this store`);
  const [, transactionId = '', sequence = ''] = match;
  return [BigInt(transactionId).toString(), BigInt(sequence).toString()];
}
