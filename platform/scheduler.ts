/** When deferred work runs, as a port: the simulation drives it step by step; a process uses the event loop. */
export interface Scheduler {
  /** Runs `work` soon, after what is already queued on the event loop. */
  defer(work: () => void): void;
  /** Runs `work` after `delayMs`; never keeps the process alive. Returns how to call it off. */
  delay(work: () => void, delayMs: number): () => void;
}

export const eventLoopScheduler: Scheduler = {
  defer: (work) => {
    setImmediate(work);
  },
  delay: (work, delayMs) => {
    const timer = setTimeout(work, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
