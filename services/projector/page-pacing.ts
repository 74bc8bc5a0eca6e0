/**
 * Leaves time between pages when they come thick and fast, so that each one takes more events along. A page costs about two milliseconds of
 * processor time, here and in Postgres, however few events it holds; without a pause, a steady stream of requests would be written a
 * handful of events at a time. A few pages in a row, as one request makes them, are never delayed.
 */
import type { Scheduler } from '../../platform/scheduler.js';

/** Under load a page begins at the earliest this long after the one before. Readers who wait for their own request wait no longer than this more. */
export const PAGE_INTERVAL_MIN_MS = 20;

/** So many pages in a row, none of them later than the interval after the one before, are load. */
const PAGES_IN_A_ROW = 4;

export type PagePacing = {
  /** A page begins. */
  begin(): void;
  /** Resolves when the next page may begin. */
  pause(): Promise<void>;
  /** Ends the pause and all later ones. */
  end(): void;
};

export function createPagePacing(options: { readonly scheduler: Scheduler; readonly monotonicNowMs: () => number }): PagePacing {
  const { scheduler, monotonicNowMs } = options;
  let begunMs = Number.NEGATIVE_INFINITY;
  let endedMs = Number.NEGATIVE_INFINITY;
  let inARow = 0;
  let isEnded = false;
  let endPause: () => void = () => {};
  return {
    begin() {
      begunMs = monotonicNowMs();
      inARow = begunMs - endedMs < PAGE_INTERVAL_MIN_MS ? inARow + 1 : 1;
    },
    async pause() {
      endedMs = monotonicNowMs();
      const restMs = begunMs + PAGE_INTERVAL_MIN_MS - endedMs;
      if (isEnded || inARow < PAGES_IN_A_ROW || restMs <= 0) return;
      await new Promise<void>((resume) => {
        const cancel = scheduler.delay(resume, restMs);
        endPause = () => {
          cancel();
          resume();
        };
      });
      endedMs = monotonicNowMs();
    },
    end() {
      isEnded = true;
      endPause();
    },
  };
}
