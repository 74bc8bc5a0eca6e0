/**
 * The EventStore port: append-only streams with optimistic concurrency and one global order. Adapters pass the shared contract suite in
 * `event-store-contract.ts`.
 */
import type { NewEvent, Position, RecordedEvent } from '../contract/envelope.js';

/** Revision a writer expects the stream to stand at; `NO_STREAM` for one that must not exist yet. There is no "any". */
export const NO_STREAM = -1;

/** One atomic write to one stream. */
export type StreamAppend = {
  readonly stream: string;
  /** Revision of the stream's last event as the writer knows it, or `NO_STREAM`. */
  readonly expectedRevision: number;
  /** At least one, at most `APPEND_EVENTS_MAX`. */
  readonly events: readonly NewEvent[];
};

export type AppendResult =
  /** Written now, or found already written by an earlier try of the same events (`replayed`). */
  | { readonly status: 'appended'; readonly revision: number; readonly position: Position; readonly replayed: boolean }
  /** Nothing of this stream's batch was written. `actualRevision` is where the stream stands. */
  | { readonly status: 'conflict'; readonly actualRevision: number };

export type ReadStreamOptions = {
  /** First revision to read; 0 by default. */
  readonly fromRevision?: number;
  /** `READ_EVENTS_MAX` by default. */
  readonly maxCount?: number;
};

export type SubscribeOptions = {
  /** Delivery begins after this position; `BEFORE_EVERYTHING` for the whole log. */
  readonly after: Position;
  /** Most events handed over at once. 1,000 by default. */
  readonly batchMax?: number;
  /** Milliseconds between a batch that was not full and the next read, so that what is appended meanwhile comes together. 0 by default. */
  readonly restMs?: number;
  /**
   * Called with the next events in global order, never concurrently. The next batch waits for it. When it throws, the same
   * events are delivered again after a backoff.
   */
  readonly onEvents: (events: readonly RecordedEvent[]) => Promise<void> | void;
  /** Told of every failure (connection lost, handler threw); the subscription goes on by itself. */
  readonly onError?: (error: unknown) => void;
};

export type Subscription = {
  /** Resolves when no handler runs any more. */
  stop(): Promise<void>;
};

export interface EventStore {
  /**
   * Appends to many streams, in one transaction where the store has them; each stream succeeds or conflicts on its own. A stream may occur
   * once per call. The result array matches `appends` by index. A rejected promise means the outcome is unknown: retry with the same
   * events and expected revisions, and a batch that had been written answers `appended` with `replayed: true`.
   */
  append(appends: readonly StreamAppend[]): Promise<AppendResult[]>;
  /** Events of one stream in order; empty when it does not exist. */
  readStream(stream: string, options?: ReadStreamOptions): Promise<RecordedEvent[]>;
  /** The next events in global order. Never skips an event that a slower concurrent writer commits later. */
  readAll(after: Position, maxCount: number): Promise<RecordedEvent[]>;
  /** Position of the last event that `readAll` can see; `BEFORE_EVERYTHING` when empty. */
  head(): Promise<Position>;
  /** Catches up, then follows live. */
  subscribe(options: SubscribeOptions): Subscription;
  /** Whether an append would succeed now; for readiness. */
  isReady(): Promise<boolean>;
  close(): Promise<void>;
}

/** Bounds, enforced with a `RangeError`: exceeding one is a bug of the caller. */
export const APPEND_EVENTS_MAX = 4_000;
export const APPEND_STREAMS_MAX = 2_000;
export const READ_EVENTS_MAX = 10_000;
