/** Work that is done again and again, with a pause after each round, until it is stopped. One round at a time. */
import type { Scheduler } from './scheduler.js';

export type RoundsOptions = {
  readonly round: () => Promise<void>;
  /** From the end of a round to the beginning of the next. */
  readonly pauseMs: number;
  readonly scheduler: Scheduler;
  /** A round that fails is told of, and the next comes all the same. */
  readonly onError: (error: unknown) => void;
};

export type Rounds = {
  /** Resolves when no round is under way. */
  stop(): Promise<void>;
};

/** Begins with a round at once. */
export function startRounds({ round, pauseMs, scheduler, onError }: RoundsOptions): Rounds {
  let isStopped = false;
  let cancel = () => {};
  let underWay: Promise<void> = Promise.resolve();
  const run = async () => {
    try {
      await round();
    } catch (error) {
      onError(error);
    }
    if (!isStopped) cancel = scheduler.delay(start, pauseMs);
  };
  const start = () => {
    underWay = run();
  };
  start();
  return {
    async stop() {
      isStopped = true;
      cancel();
      await underWay;
    },
  };
}
