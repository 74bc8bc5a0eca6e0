/**
 * EventStore on Postgres: append-only, gap-safe under concurrent writers, many streams in one round trip.
 *
 * Readers stay below the oldest open append, wherever it runs. Transactions that only write other things are told apart and passed over,
 * so a rebuild or a bulk load delays no subscriber.
 */
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { eventLoopScheduler, type Scheduler } from '../../../platform/scheduler.js';
import { BEFORE_EVERYTHING, type EventMetadata, type JsonObject, type Position, type RecordedEvent } from '../../contract/envelope.js';
import type { EventStore } from '../event-store.js';
import { followLog, type LogFollower } from '../follow-log.js';
import { checkAppends, checkReadCount, checkRevision, checkStreamName } from '../store-bounds.js';
import { createAppendAnnouncer } from './append-announcer.js';
import { appendBatch } from './append-batch.js';
import { partsOf, positionOf } from './position.js';
import { FIND_BYSTANDERS, READ_ALL, READ_HEAD, READ_STREAM, READINESS } from './statements.js';

/**
 * Subscribers look for news this often by themselves. Appends of this process wake them at once and NOTIFY soon; this is for news that
 * got lost.
 */
export const POLL_EVERY_MS = 500;

/** Bystanders are looked for when readers are held up, and not more often: the look takes every lock of the server's lock table. */
const BYSTANDERS_EVERY_MS = 50;
const NO_BYSTANDERS = '{}';

export type PostgresEventStoreOptions = {
  /** The store holds one connection of it while there are subscribers. End it after `close`. */
  readonly pool: Pool;
  readonly logger: Logger;
  /** The event loop by default. */
  readonly scheduler?: Scheduler;
};

type EventRow = [
  xid: string,
  ordinal: number,
  stream: string,
  revision: string,
  id: string,
  type: string,
  version: number,
  data: JsonObject,
  metadata: EventMetadata,
];

/** The tables come from the migrations beside this file. */
export function createPostgresEventStore(options: PostgresEventStoreOptions): EventStore {
  const { pool, logger, scheduler = eventLoopScheduler } = options;
  const followers = new Set<LogFollower>();
  let isClosed = false;
  const assertOpen = () => {
    if (isClosed) throw new Error('the event store is closed');
  };
  const reader = createLogReader(pool);
  const hearOf = (position: Position) => {
    reader.expect(position);
    for (const follower of followers) follower.wake(position);
  };
  const announcer = createAppendAnnouncer({ pool, logger, scheduler, onNews: hearOf });
  return {
    async append(appends) {
      checkAppends(appends);
      assertOpen();
      if (appends.length === 0) return [];
      const { results, newest } = await appendBatch(pool, appends);
      if (newest !== BEFORE_EVERYTHING) {
        hearOf(newest);
        announcer.announce(newest);
      }
      return results;
    },
    async readStream(stream, readOptions = {}) {
      checkStreamName(stream);
      const values = [stream, checkRevision(readOptions.fromRevision ?? 0), checkReadCount(readOptions.maxCount)];
      assertOpen();
      const { rows } = await pool.query<EventRow>({ ...READ_STREAM, values, rowMode: 'array' });
      return rows.map(recordedEventOf);
    },
    async readAll(after, maxCount) {
      checkReadCount(maxCount);
      assertOpen();
      return reader.read(after, maxCount);
    },
    async head() {
      assertOpen();
      return reader.head();
    },
    subscribe(subscription) {
      assertOpen();
      partsOf(subscription.after);
      const onError = (error: unknown) => {
        logger.warn({ err: error }, 'subscription failed, will try again');
        subscription.onError?.(error);
      };
      const follower = followLog({ ...subscription, onError, scheduler, pollEveryMs: POLL_EVERY_MS, read: reader.read });
      followers.add(follower);
      announcer.listen();
      return {
        stop() {
          followers.delete(follower);
          return follower.stop();
        },
      };
    },
    isReady: async () => !isClosed && (await isServerReady(pool, logger)),
    async close() {
      isClosed = true;
      announcer.close();
      await Promise.all([...followers].map((follower) => follower.stop()));
      followers.clear();
    },
  };
}

type LogReader = {
  read(after: Position, maxCount: number): Promise<RecordedEvent[]>;
  head(): Promise<Position>;
  /** An event at `position` has been committed; a reader that does not see it yet is held up by an older transaction. */
  expect(position: Position): void;
};

function createLogReader(pool: Pool): LogReader {
  let bystanders = NO_BYSTANDERS;
  let lookedForBystandersMs = Number.NEGATIVE_INFINITY;
  let newestCommitted: Position = BEFORE_EVERYTHING;
  const readPage = async (after: Position, maxCount: number): Promise<RecordedEvent[]> => {
    const values = [...partsOf(after), maxCount, bystanders];
    const { rows } = await pool.query<EventRow>({ ...READ_ALL, values, rowMode: 'array' });
    return rows.map(recordedEventOf);
  };
  return {
    async read(after, maxCount) {
      const events = await readPage(after, maxCount);
      const isHeldUp = events.length === 0 && newestCommitted > after;
      if (!isHeldUp || performance.now() - lookedForBystandersMs < BYSTANDERS_EVERY_MS) return events;
      lookedForBystandersMs = performance.now();
      const { rows } = await pool.query<{ bystanders: string }>(FIND_BYSTANDERS);
      bystanders = rows[0]?.bystanders ?? NO_BYSTANDERS;
      return bystanders === NO_BYSTANDERS ? events : readPage(after, maxCount);
    },
    async head() {
      const { rows } = await pool.query<{ xid: string; ordinal: number }>({ ...READ_HEAD, values: [bystanders] });
      return rows[0] === undefined ? BEFORE_EVERYTHING : positionOf(rows[0].xid, rows[0].ordinal);
    },
    expect(position) {
      if (position > newestCommitted) newestCommitted = position;
    },
  };
}

async function isServerReady(pool: Pool, logger: Logger): Promise<boolean> {
  try {
    const { rows } = await pool.query<{ isWritable: boolean; isOfThisCluster: boolean }>(READINESS);
    if (rows[0]?.isOfThisCluster === false) {
      logger.error('the event log was made on another cluster: restore it with a physical backup, which keeps transaction ids');
      return false;
    }
    return rows[0]?.isWritable === true;
  } catch (error) {
    logger.debug({ err: error }, 'the event store cannot be reached');
    return false;
  }
}

function recordedEventOf(row: EventRow): RecordedEvent {
  const [xid, ordinal, stream, revision, id, type, version, data, metadata] = row;
  return { id, type, version, data, metadata, stream, revision: Number(revision), position: positionOf(xid, ordinal) };
}
