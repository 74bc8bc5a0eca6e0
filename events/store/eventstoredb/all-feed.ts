/**
 * Keeps one filtered `$all` subscription alive and holds what it has brought until it is taken. The client's subscriptions end with their
 * connection; this one starts another after a backoff, behind the last event that arrived.
 *
 * A subscription from a position begins after it (a read of `$all` begins with it), so nothing comes twice; should a server send the event at
 * the position again, it is dropped.
 *
 * Events arrive one by one. While the feed catches up, it gives full batches only, since more is on its way; the server sends no checkpoint
 * when it has caught up, so the feed looks up where the log ended when it connected.
 */
import type { RecordedEvent as StoredEvent } from '@eventstore/db-client';
import type { Scheduler } from '../../../platform/scheduler.js';
import { BEFORE_EVERYTHING, type Position, type RecordedEvent } from '../../contract/envelope.js';
import type { AllSubscription, DbClient } from './db-client.js';
import { fromWireEvent } from './event-format.js';
import { partsOf, positionOf } from './position.js';

/** A lost subscription is opened again after this long, doubling up to the maximum until the server confirms one. */
export const RECONNECT_DELAY_MIN_MS = 100;
export const RECONNECT_DELAY_MAX_MS = 5_000;

export type AllFeed = {
  /**
   * The next events after `after`, which is where the feed began or the position of an event that it gave. What lies before is let go. Empty
   * when nothing is there yet, or when a full batch can be expected.
   */
  take(after: Position, maxCount: number): RecordedEvent[];
  stop(): void;
};

export type AllFeedOptions = {
  readonly client: DbClient;
  readonly head: () => Promise<Position>;
  readonly after: Position;
  /** Beyond this many waiting events the server is kept waiting. */
  readonly waitingMax: number;
  readonly scheduler: Scheduler;
  /** Events wait to be taken. */
  readonly onNews: () => void;
  readonly onLost: (error: unknown) => void;
};

export function openAllFeed(options: AllFeedOptions): AllFeed {
  const { client, waitingMax, scheduler } = options;
  const waiting: RecordedEvent[] = [];
  /** Everything up to here has arrived, or is not for us. */
  let arrived = options.after;
  let subscription: AllSubscription | null = null;
  /** Where the log ended when the subscription was opened; `null` until it is known. */
  let caughtUpAt: Position | null = BEFORE_EVERYTHING;
  let isPaused = false;
  let isStopped = false;
  let failures = 0;
  let cancelReconnect = () => {};

  function onEvent(stored: StoredEvent | undefined): void {
    const event = fromWireEvent(stored);
    if (event === null || event.position <= arrived) return;
    arrived = event.position;
    waiting.push(event);
    if (waiting.length >= waitingMax && !isPaused) {
      isPaused = true;
      subscription?.pause();
    }
    options.onNews();
  }

  function lookForHead(of: AllSubscription): void {
    caughtUpAt = null;
    const know = (position: Position) => {
      if (subscription !== of) return;
      caughtUpAt = position;
      options.onNews();
    };
    options.head().then(know, () => know(BEFORE_EVERYTHING));
  }

  function onLost(error: unknown): void {
    subscription = null;
    if (isStopped) return;
    const delayMs = Math.min(RECONNECT_DELAY_MAX_MS, RECONNECT_DELAY_MIN_MS * 2 ** Math.min(failures, 10));
    failures += 1;
    cancelReconnect = scheduler.delay(connect, delayMs);
    options.onLost(error);
    // What has arrived need not wait for the next connection.
    options.onNews();
  }

  function connect(): void {
    if (isStopped) return;
    try {
      subscription = client.subscribeToAll(partsOf(arrived), {
        onEvent,
        onCheckpoint: (position) => {
          const looked = positionOf(position);
          if (looked > arrived) arrived = looked;
        },
        onConfirmed: () => {
          failures = 0;
        },
        onLost,
      });
      if (isPaused) subscription.pause();
      lookForHead(subscription);
    } catch (error) {
      onLost(error);
    }
  }

  connect();
  return {
    take(after, maxCount) {
      let taken = 0;
      while (taken < waiting.length && (waiting[taken] as RecordedEvent).position <= after) taken += 1;
      if (taken > 0) waiting.splice(0, taken);
      if (isPaused && waiting.length <= waitingMax / 2) {
        isPaused = false;
        subscription?.resume();
      }
      const isCatchingUp = subscription !== null && (caughtUpAt === null || arrived < caughtUpAt);
      return isCatchingUp && waiting.length < maxCount ? [] : waiting.slice(0, maxCount);
    },
    stop() {
      isStopped = true;
      cancelReconnect();
      subscription?.stop();
      subscription = null;
      waiting.length = 0;
    },
  };
}
