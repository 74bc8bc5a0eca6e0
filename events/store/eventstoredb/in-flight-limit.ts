/** Lets only so many pieces of work run at once; the others wait in line. */

export type InFlightLimit = {
  /** Runs `work` when there is room; resolves or rejects as it does. */
  run<Result>(work: () => Promise<Result>): Promise<Result>;
};

export function createInFlightLimit(max: number): InFlightLimit {
  let running = 0;
  const waiting: (() => void)[] = [];
  let next = 0;

  function leave(): void {
    const start = waiting[next];
    if (start === undefined) {
      running -= 1;
      return;
    }
    // The place is handed on. The line is cut off from time to time instead of at every step.
    next += 1;
    if (next === waiting.length) {
      waiting.length = 0;
      next = 0;
    }
    start();
  }

  return {
    async run(work) {
      if (running < max) running += 1;
      else await new Promise<void>((start) => waiting.push(start));
      try {
        return await work();
      } finally {
        leave();
      }
    },
  };
}
