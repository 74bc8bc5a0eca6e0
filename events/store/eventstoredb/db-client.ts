/**
 * The only place that knows the option names of `@eventstore/db-client`. Its successor `@kurrent/kurrentdb-client` renamed some (`streamState`
 * for `expectedRevision`), and each silently ignores the other's: an append without the fence would simply succeed. So the fence is checked
 * again in the answer, and a test demands that a wrong revision fails.
 *
 * Traps of version 6.2.1 that are dealt with here:
 * - An append without `expectedRevision` means "any"; a read or batch append ignores the deadline; so both are always bounded by us.
 * - A read that is cancelled ends as if the log ended there; a read is only believed when it was not cancelled.
 * - What would end the process is in `client-guards.ts`.
 */
import {
  type AllStreamResolvedEvent,
  BACKWARDS,
  END,
  ErrorType,
  type EventData,
  EventStoreDBClient,
  excludeSystemEvents,
  FORWARDS,
  isCommandError,
  NO_STREAM as NO_STREAM_EXPECTED,
  type ResolvedEvent,
  START,
  type RecordedEvent as StoredEvent,
  WrongExpectedVersionError,
} from '@eventstore/db-client';
import { NO_STREAM } from '../event-store.js';
import { type ClientInternals, guardBatchAnswers, guardReconnect, trackChannels } from './client-guards.js';
import type { LogPosition } from './position.js';

/** The server tells a filtered subscription how far it has looked after this many windows of 32 events, so that a reconnect need not look again. */
const CHECKPOINT_EVERY_WINDOWS = 8;

export type Written = { readonly revision: number; readonly position: LogPosition | undefined };

export type ReadStreamRequest = {
  readonly stream: string;
  /** `null`: backwards from the end. */
  readonly fromRevision: number | null;
  readonly maxCount: number;
};

export type ReadAllRequest = {
  /** Included, forwards. `null` is the beginning, or the end for a backwards read. */
  readonly from: LogPosition | null;
  readonly direction: 'forwards' | 'backwards';
  readonly maxCount: number;
};

export type AllListener = {
  readonly onEvent: (event: StoredEvent | undefined) => void;
  /** The server has looked so far, and everything before has been handed to `onEvent`. */
  readonly onCheckpoint: (position: LogPosition) => void;
  readonly onConfirmed: () => void;
  /** Called once; nothing comes afterwards. */
  readonly onLost: (error: unknown) => void;
};

export type AllSubscription = { pause(): void; resume(): void; stop(): void };

/** One connection. It reconnects by itself when the server goes away; what was under way then rejects. */
export type DbClient = {
  /** Rejects with what `isWrongRevision` or `isRefusal` recognise; anything else means that the outcome is unknown. */
  append(stream: string, expectedRevision: number, events: readonly EventData[], timeoutMs: number): Promise<Written>;
  /** Empty when the stream does not exist. */
  readStream(request: ReadStreamRequest, timeoutMs: number): Promise<StoredEvent[]>;
  readAll(request: ReadAllRequest, timeoutMs: number): Promise<StoredEvent[]>;
  /** Everything after `after` but system events. Does not outlive the connection. */
  subscribeToAll(after: LogPosition | null, listener: AllListener): AllSubscription;
  /** Ends what is under way, which rejects, and closes the connection. */
  close(): Promise<void>;
};

export class TimedOutError extends Error {
  override readonly name = 'TimedOutError';
}

/** The server wrote without looking at the expected revision: a bug of this file or of the client, and trying again makes it worse. */
class FenceIgnoredError extends Error {
  override readonly name = 'FenceIgnoredError';
}

export function isWrongRevision(error: unknown): error is WrongExpectedVersionError {
  return error instanceof WrongExpectedVersionError;
}

/** Where the stream stands according to the refusal. */
export function actualRevisionOf(error: WrongExpectedVersionError): number {
  return typeof error.actualVersion === 'bigint' ? Number(error.actualVersion) : NO_STREAM;
}

const REFUSALS: ReadonlySet<string> = new Set([
  ErrorType.ACCESS_DENIED,
  ErrorType.INVALID_ARGUMENT,
  ErrorType.MAXIMUM_APPEND_SIZE_EXCEEDED,
  ErrorType.STREAM_DELETED,
]);

/** Trying again is of no use: the server has looked at the request and will never accept it. */
export function isRefusal(error: unknown): boolean {
  if (error instanceof FenceIgnoredError) return true;
  return isCommandError(error as Error) && REFUSALS.has((error as { type?: string }).type ?? '');
}

export function connectDbClient(connectionString: string): DbClient {
  const client = EventStoreDBClient.connectionString(connectionString);
  const internals = client as unknown as ClientInternals;
  guardReconnect(internals);
  guardBatchAnswers(internals);
  const closeChannel = trackChannels(internals);
  let isClosed = false;
  const assertOpen = () => {
    if (isClosed) throw new Error('the connection to EventStoreDB was closed');
  };

  return {
    async append(stream, expectedRevision, events, timeoutMs) {
      assertOpen();
      const result = await withTimeout(
        client.appendToStream(stream, [...events], {
          expectedRevision: expectedRevision === NO_STREAM ? NO_STREAM_EXPECTED : BigInt(expectedRevision),
          requiresLeader: true,
          deadline: timeoutMs,
        }),
        timeoutMs,
        `append to ${stream}`,
      );
      const revision = Number(result.nextExpectedRevision);
      if (!result.success || revision !== expectedRevision + events.length) {
        throw new FenceIgnoredError(`${stream} stands at ${revision} after ${events.length} events at ${expectedRevision}`);
      }
      return { revision, position: result.position };
    },
    async readStream({ stream, fromRevision, maxCount }, timeoutMs) {
      assertOpen();
      const isBackwards = fromRevision === null;
      const reading = client.readStream(stream, {
        direction: isBackwards ? BACKWARDS : FORWARDS,
        fromRevision: isBackwards ? END : BigInt(fromRevision),
        maxCount,
        requiresLeader: true,
      });
      try {
        return await collect(reading, timeoutMs, assertOpen);
      } catch (error) {
        if (isCommandError(error as Error) && (error as { type?: string }).type === ErrorType.STREAM_NOT_FOUND) return [];
        throw error;
      }
    },
    readAll: async ({ from, direction, maxCount }, timeoutMs) => {
      assertOpen();
      const isBackwards = direction === 'backwards';
      const reading = client.readAll({
        direction: isBackwards ? BACKWARDS : FORWARDS,
        fromPosition: from ?? (isBackwards ? END : START),
        maxCount,
        requiresLeader: true,
      });
      return collect(reading, timeoutMs, assertOpen);
    },
    subscribeToAll: (after, listener) => {
      assertOpen();
      return openSubscription(client, after, listener);
    },
    async close() {
      if (isClosed) return;
      isClosed = true;
      await client.dispose();
      closeChannel();
    },
  };
}

function openSubscription(client: EventStoreDBClient, after: LogPosition | null, listener: AllListener): AllSubscription {
  let isOver = false;
  const subscription = client.subscribeToAll({
    fromPosition: after ?? START,
    filter: excludeSystemEvents({
      checkpointInterval: CHECKPOINT_EVERY_WINDOWS,
      checkpointReached: (source, position) => {
        // Earlier events may still wait in the client's buffer, and would be lost if the connection broke now.
        if (!isOver && source.readableLength === 0) listener.onCheckpoint(position);
      },
    }),
  });
  const lose = (error: unknown) => {
    if (isOver) return;
    stop();
    listener.onLost(error);
  };
  const stop = () => {
    isOver = true;
    subscription.unsubscribe().catch(() => {});
    subscription.destroy();
  };
  subscription.on('confirmation', () => {
    if (!isOver) listener.onConfirmed();
  });
  subscription.on('data', (resolved: AllStreamResolvedEvent) => {
    if (!isOver) listener.onEvent(resolved.event as StoredEvent | undefined);
  });
  subscription.on('error', lose);
  subscription.on('end', () => lose(new Error('the server ended the subscription')));
  return { pause: () => subscription.pause(), resume: () => subscription.resume(), stop };
}

type Reading = ReturnType<EventStoreDBClient['readStream']> | ReturnType<EventStoreDBClient['readAll']>;

/** All of a read, or nothing: it rejects when the read was cut off. */
function collect(reading: Reading, timeoutMs: number, assertOpen: () => void): Promise<StoredEvent[]> {
  return new Promise((resolve, reject) => {
    const events: StoredEvent[] = [];
    const timer = setTimeout(() => {
      reject(new TimedOutError(`no end of a read within ${timeoutMs} ms`));
      reading.cancel().catch(() => {});
    }, timeoutMs);
    const fail = (error: unknown) => {
      clearTimeout(timer);
      reject(error);
    };
    reading.on('data', (resolved: ResolvedEvent | AllStreamResolvedEvent) => {
      if (resolved.event !== undefined) events.push(resolved.event as StoredEvent);
    });
    reading.on('error', fail);
    reading.on('end', () => {
      try {
        assertOpen();
      } catch (error) {
        fail(error);
      }
      clearTimeout(timer);
      resolve(events);
    });
  });
}

function withTimeout<Result>(work: Promise<Result>, timeoutMs: number, what: string): Promise<Result> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new TimedOutError(`no answer to ${what} within ${timeoutMs} ms`)), timeoutMs);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
