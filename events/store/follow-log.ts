/**
 * Drives one subscription over any store that can read its log from a position: catch up, then wait to be woken. Time comes from a
 * scheduler, so that a simulation decides when each batch is delivered.
 *
 *     idle --wake--> queued --scheduler--> reading/handling --events or woken--> queued
 *       ^                                        |  |--nothing left--> idle (wakes itself after `pollEveryMs`, where set)
 *       |                                        |  \--a batch that was not full--> resting --`restMs`--> queued
 *       |                                        \--failure--> backing off --delay--> queued
 *       stop: from anywhere, no handler starts any more
 */

import type { Scheduler } from '../../platform/scheduler.js';
import type { Position, RecordedEvent } from '../contract/envelope.js';
import type { SubscribeOptions, Subscription } from './event-store.js';
import { checkReadCount, SUBSCRIBE_BATCH_DEFAULT } from './store-bounds.js';

/** A failed delivery is tried again after this long, doubling up to the maximum. */
export const REDELIVERY_DELAY_MIN_MS = 10;
export const REDELIVERY_DELAY_MAX_MS = 2_000;
/**
 * A reader woken for a position that the store does not show yet (an older transaction is still open) looks again after this long,
 * doubling up to the maximum.
 */
const RECHECK_DELAY_MIN_MS = 2;
const RECHECK_DELAY_MAX_MS = 100;

export type LogFollower = Subscription & {
  /** There may be news. With a position: the store has committed an event there, so the follower goes on looking until it has passed it. */
  wake(committed?: Position): void;
};

export type FollowLogOptions = SubscribeOptions & {
  readonly read: (after: Position, maxCount: number) => Promise<RecordedEvent[]>;
  readonly scheduler: Scheduler;
  /** Looks for news by itself this often; `null` when every append is sure to wake it. */
  readonly pollEveryMs: number | null;
};

/** Starts following. The first batch is read on the scheduler's next turn. */
export function followLog(options: FollowLogOptions): LogFollower {
  const batchMax = checkReadCount(options.batchMax ?? SUBSCRIBE_BATCH_DEFAULT);
  const { scheduler, restMs = 0 } = options;
  let position = options.after;
  let committed: Position = position;
  let state: 'idle' | 'queued' | 'handling' | 'resting' | 'backing_off' | 'stopped' = 'idle';
  let woken = false;
  let failures = 0;
  let rechecks = 0;
  let running: Promise<void> = Promise.resolve();
  let cancelDelay: (() => void) | null = null;

  function queue(): void {
    cancelDelay?.();
    cancelDelay = null;
    state = 'queued';
    scheduler.defer(start);
  }

  function queueAfter(delayMs: number): void {
    cancelDelay?.();
    cancelDelay = scheduler.delay(() => {
      cancelDelay = null;
      if (state === 'idle' || state === 'resting' || state === 'backing_off') queue();
    }, delayMs);
  }

  function start(): void {
    if (state !== 'queued') return;
    state = 'handling';
    woken = false;
    running = deliverNext();
  }

  async function deliverNext(): Promise<void> {
    try {
      const events = await options.read(position, batchMax);
      if (state === 'stopped') return;
      const last = events.at(-1);
      if (last === undefined) {
        settleIdle();
        return;
      }
      await options.onEvents(events);
      position = last.position;
      failures = 0;
      rechecks = 0;
      if (state === 'handling') rest(events.length);
    } catch (error) {
      if (state === 'stopped') return;
      state = 'backing_off';
      queueAfter(backoffMs(REDELIVERY_DELAY_MIN_MS, REDELIVERY_DELAY_MAX_MS, failures));
      failures += 1;
      options.onError?.(error);
    }
  }

  /** Before the next read, unless more is known to wait. */
  function rest(delivered: number): void {
    if (restMs === 0 || delivered === batchMax) {
      queue();
      return;
    }
    state = 'resting';
    queueAfter(restMs);
  }

  function settleIdle(): void {
    failures = 0;
    if (woken) {
      queue();
      return;
    }
    state = 'idle';
    if (committed > position) {
      queueAfter(backoffMs(RECHECK_DELAY_MIN_MS, RECHECK_DELAY_MAX_MS, rechecks));
      rechecks += 1;
    } else if (options.pollEveryMs !== null) queueAfter(options.pollEveryMs);
  }

  queue();
  return {
    wake(at) {
      if (at !== undefined && at > committed) {
        committed = at;
        rechecks = 0;
      }
      if (state === 'idle') queue();
      else if (state === 'handling') woken = true;
    },
    stop() {
      state = 'stopped';
      cancelDelay?.();
      cancelDelay = null;
      return running;
    },
  };
}

function backoffMs(minMs: number, maxMs: number, failures: number): number {
  return Math.min(maxMs, minMs * 2 ** Math.min(failures, 20));
}
