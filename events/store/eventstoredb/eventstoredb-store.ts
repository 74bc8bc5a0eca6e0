/**
 * EventStore on EventStoreDB. Each stream of an append is an append of its own, since the server has no transaction over streams; the port
 * asks for none. Every append names its revision, every wait is bounded, and subscriptions outlive their connections.
 */
import type { EventData, RecordedEvent as StoredEvent } from '@eventstore/db-client';
import type { Logger } from 'pino';
import { eventLoopScheduler, type Scheduler } from '../../../platform/scheduler.js';
import type { Position, RecordedEvent } from '../../contract/envelope.js';
import type { EventStore, SubscribeOptions, Subscription } from '../event-store.js';
import { followLog } from '../follow-log.js';
import { checkAppends, checkReadCount, checkRevision, checkStreamName, SUBSCRIBE_BATCH_DEFAULT } from '../store-bounds.js';
import { openAllFeed } from './all-feed.js';
import { appendToStream } from './append-stream.js';
import { connectionStringOf, type EventStoreDbConnection } from './connection-string.js';
import { connectDbClient, type DbClient, isRefusal, isWrongRevision, type Written } from './db-client.js';
import { fromWireEvent } from './event-format.js';
import { createInFlightLimit } from './in-flight-limit.js';
import { createLogReader } from './log-reader.js';
import { partsOf } from './position.js';

/**
 * An append that is not answered by then has an unknown outcome, and is tried again. The largest appends the port allows take one to two
 * seconds on a busy machine.
 */
export const APPEND_TIMEOUT_DEFAULT_MS = 5_000;
/** A page of ten thousand events takes well under a second; a read that hangs must not hold its caller for long. */
export const READ_TIMEOUT_DEFAULT_MS = 30_000;
/** Readiness is asked every few seconds. */
export const READY_TIMEOUT_MS = 2_000;
/**
 * Appends under way at once. The client writes batch appends to one stream that takes 16 messages before it makes writers wait, and rejects
 * those that wait, with nobody listening, when the connection breaks: the process would end. Staying below 16 keeps everyone out of that
 * line. At a round trip of 1 ms it allows 12,000 appends a second, about what one server takes.
 */
export const APPENDS_IN_FLIGHT_MAX = 12;
/** Batches that wait behind the one a subscriber is handling. */
const WAITING_BATCHES_MAX = 2;

export type EventStoreDbStoreOptions = EventStoreDbConnection & {
  readonly logger: Logger;
  /** The event loop by default. */
  readonly scheduler?: Scheduler;
  /** Milliseconds; `APPEND_TIMEOUT_DEFAULT_MS` by default. */
  readonly appendTimeoutMs?: number;
  /** Milliseconds; `READ_TIMEOUT_DEFAULT_MS` by default. */
  readonly readTimeoutMs?: number;
};

/** Connects when it is first used. Throws `RangeError` for a connection that cannot be meant. */
export function createEventStoreDbStore(options: EventStoreDbStoreOptions): EventStore {
  const { logger, scheduler = eventLoopScheduler } = options;
  const { appendTimeoutMs = APPEND_TIMEOUT_DEFAULT_MS, readTimeoutMs = READ_TIMEOUT_DEFAULT_MS } = options;
  const connectionString = connectionStringOf(options);
  const reader = connectDbClient(connectionString);
  const appender = createAppender(connectionString, appendTimeoutMs);
  const limit = createInFlightLimit(APPENDS_IN_FLIGHT_MAX);
  const log = createLogReader(reader, readTimeoutMs);
  const subscriptions = new Set<Subscription>();
  let isClosed = false;
  const assertOpen = () => {
    if (isClosed) throw new Error('the event store is closed');
  };
  const readStream = async (stream: string, fromRevision: number, maxCount: number) =>
    (await reader.readStream({ stream, fromRevision, maxCount }, readTimeoutMs)).map(ourEventOf);
  const tools = {
    write: appender.write,
    readStream,
    scheduler,
    onUnknown: (error: unknown, stream: string, attempt: number) =>
      logger.warn({ err: error, stream, attempt }, 'outcome of an append unknown, trying again'),
  };

  return {
    async append(appends) {
      checkAppends(appends);
      assertOpen();
      const settled = await Promise.allSettled(
        appends.map((append) =>
          limit.run(async () => {
            assertOpen();
            return appendToStream(tools, append);
          }),
        ),
      );
      // Only when nothing is under way any more may the caller hear of a failure: it will send the same events again.
      return settled.map((one) => {
        if (one.status === 'rejected') throw one.reason;
        return one.value;
      });
    },
    async readStream(stream, read = {}) {
      checkStreamName(stream);
      const fromRevision = checkRevision(read.fromRevision ?? 0);
      const maxCount = checkReadCount(read.maxCount);
      assertOpen();
      return readStream(stream, fromRevision, maxCount);
    },
    async readAll(after, maxCount) {
      assertOpen();
      return log.readAll(after, maxCount);
    },
    async head() {
      assertOpen();
      return log.head();
    },
    subscribe(subscription) {
      assertOpen();
      const following = follow({ reader, head: log.head, scheduler, logger }, subscription);
      subscriptions.add(following);
      return {
        stop() {
          subscriptions.delete(following);
          return following.stop();
        },
      };
    },
    isReady: async () => !isClosed && canReach(reader, logger),
    async close() {
      if (isClosed) return;
      isClosed = true;
      const stopping = [...subscriptions].map((following) => following.stop());
      subscriptions.clear();
      await Promise.all(stopping);
      await Promise.all([reader.close(), appender.close()]);
    },
  };
}

type FollowTools = {
  readonly reader: DbClient;
  readonly head: () => Promise<Position>;
  readonly scheduler: Scheduler;
  readonly logger: Logger;
};

function follow({ reader, head, scheduler, logger }: FollowTools, subscription: SubscribeOptions): Subscription {
  partsOf(subscription.after);
  const batchMax = checkReadCount(subscription.batchMax ?? SUBSCRIBE_BATCH_DEFAULT);
  const onError = (error: unknown) => {
    logger.warn({ err: error }, 'subscription failed, will try again');
    subscription.onError?.(error);
  };
  const feed = openAllFeed({
    client: reader,
    head,
    after: subscription.after,
    waitingMax: WAITING_BATCHES_MAX * batchMax,
    scheduler,
    onNews: () => follower.wake(),
    onLost: onError,
  });
  const read = async (after: Position, maxCount: number) => feed.take(after, maxCount);
  const follower = followLog({ ...subscription, batchMax, onError, scheduler, pollEveryMs: null, read });
  return {
    stop() {
      feed.stop();
      return follower.stop();
    },
  };
}

async function canReach(reader: DbClient, logger: Logger): Promise<boolean> {
  try {
    await reader.readAll({ from: null, direction: 'backwards', maxCount: 1 }, READY_TIMEOUT_MS);
    return true;
  } catch (error) {
    logger.debug({ err: error }, 'the event store cannot be reached');
    return false;
  }
}

/**
 * Appends have a connection of their own: reads that fail would take the batch stream with them. A try of unknown outcome takes the
 * connection with it, since what it left unsent would stay in the stream's buffer, and the server may be one that only looks alive.
 */
function createAppender(connectionString: string, timeoutMs: number) {
  let client: DbClient = connectDbClient(connectionString);
  let isClosed = false;
  return {
    async write(stream: string, expectedRevision: number, events: readonly EventData[]): Promise<Written> {
      const used = client;
      try {
        return await used.append(stream, expectedRevision, events, timeoutMs);
      } catch (error) {
        if (!isWrongRevision(error) && !isRefusal(error) && used === client && !isClosed) {
          client = connectDbClient(connectionString);
          used.close().catch(() => {});
        }
        throw error;
      }
    },
    close() {
      isClosed = true;
      return client.close();
    },
  };
}

function ourEventOf(stored: StoredEvent): RecordedEvent {
  const event = fromWireEvent(stored);
  if (event !== null) return event;
  throw new Error(
    `event ${stored.revision} of ${stored.streamId} was not written by this store, or has no position: EventStoreDB 22.6 or later is needed`,
  );
}
