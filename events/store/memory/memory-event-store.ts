/**
 * EventStore in memory, for tests and simulations: the same answers as the durable adapters, in one turn of the event loop, with every
 * delivery decided by the scheduler that is handed in. It forgets everything on `close`.
 */
import { eventLoopScheduler, type Scheduler } from '../../../platform/scheduler.js';
import {
  BEFORE_EVERYTHING,
  type EventMetadata,
  type JsonObject,
  type NewEvent,
  type Position,
  type RecordedEvent,
} from '../../contract/envelope.js';
import { type AppendResult, type EventStore, NO_STREAM, type StreamAppend } from '../event-store.js';
import { followLog, type LogFollower } from '../follow-log.js';
import { checkAppends, checkReadCount, checkRevision, checkStreamName } from '../store-bounds.js';

/** `Number.MAX_SAFE_INTEGER` has sixteen digits. */
const POSITION_DIGITS = 16;

export type MemoryEventStoreOptions = {
  /** Decides when subscribers run; the event loop by default. */
  readonly scheduler?: Scheduler;
};

export function createMemoryEventStore(options: MemoryEventStoreOptions = {}): EventStore {
  const scheduler = options.scheduler ?? eventLoopScheduler;
  const log: RecordedEvent[] = [];
  const streams = new Map<string, RecordedEvent[]>();
  const followers = new Set<LogFollower>();
  let closed = false;

  function appendOne(append: StreamAppend): AppendResult {
    const stored = streams.get(append.stream) ?? [];
    const actualRevision = stored.length - 1;
    if (actualRevision !== append.expectedRevision) return replayOrConflict(append, stored);
    const recorded = append.events.map((event, index) => record(event, append.stream, stored.length + index, log.length + index));
    const last = recorded.at(-1);
    if (last === undefined) throw new RangeError('append without events');
    log.push(...recorded);
    stored.push(...recorded);
    streams.set(append.stream, stored);
    return { status: 'appended', revision: last.revision, position: last.position, replayed: false };
  }

  function readAfter(after: Position, maxCount: number): RecordedEvent[] {
    const from = sequenceAfter(after);
    return log.slice(from, from + maxCount);
  }

  function assertOpen(): void {
    if (closed) throw new Error('the event store is closed');
  }

  return {
    async append(appends) {
      checkAppends(appends);
      assertOpen();
      const results = appends.map(appendOne);
      if (results.some((result) => result.status === 'appended' && !result.replayed)) for (const follower of followers) follower.wake();
      return results;
    },
    async readStream(stream, read = {}) {
      checkStreamName(stream);
      const from = checkRevision(read.fromRevision ?? 0);
      const maxCount = checkReadCount(read.maxCount);
      assertOpen();
      return streams.get(stream)?.slice(from, from + maxCount) ?? [];
    },
    async readAll(after, maxCount) {
      checkReadCount(maxCount);
      assertOpen();
      return readAfter(after, maxCount);
    },
    async head() {
      assertOpen();
      return log.at(-1)?.position ?? BEFORE_EVERYTHING;
    },
    subscribe(subscription) {
      assertOpen();
      sequenceAfter(subscription.after);
      const follower = followLog({ ...subscription, scheduler, pollEveryMs: null, read: async (after, max) => readAfter(after, max) });
      followers.add(follower);
      return {
        stop() {
          followers.delete(follower);
          return follower.stop();
        },
      };
    },
    isReady: async () => !closed,
    async close() {
      closed = true;
      await Promise.all([...followers].map((follower) => follower.stop()));
      followers.clear();
      streams.clear();
      log.length = 0;
    },
  };
}

/** The stream has moved on: by this very batch (an earlier try of it), or by someone else. */
function replayOrConflict(append: StreamAppend, stored: readonly RecordedEvent[]): AppendResult {
  const first = append.expectedRevision + 1;
  const last = stored[append.expectedRevision + append.events.length];
  const written = append.events.every((event, index) => stored[first + index]?.id === event.id);
  if (written && last !== undefined) return { status: 'appended', revision: last.revision, position: last.position, replayed: true };
  return { status: 'conflict', actualRevision: stored.length === 0 ? NO_STREAM : stored.length - 1 };
}

/** Copies through JSON and freezes: what a reader gets is what a durable store would give, and nobody can change it for the others. */
function record(event: NewEvent, stream: string, revision: number, sequence: number): RecordedEvent {
  return Object.freeze({
    id: event.id,
    type: event.type,
    version: event.version,
    data: deepFreeze(JSON.parse(JSON.stringify(event.data)) as JsonObject),
    metadata: deepFreeze(JSON.parse(JSON.stringify(event.metadata)) as EventMetadata),
    stream,
    revision,
    position: sequence.toString().padStart(POSITION_DIGITS, '0'),
  });
}

function deepFreeze<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null) {
    for (const member of Object.values(value)) deepFreeze(member);
    Object.freeze(value);
  }
  return value;
}

/** Index in the log of the first event after `after`. */
function sequenceAfter(after: Position): number {
  if (after === BEFORE_EVERYTHING) return 0;
  if (after.length !== POSITION_DIGITS || !/^\d+$/.test(after)) throw new RangeError(`${after} is no position of this store`);
  return Number(after) + 1;
}
