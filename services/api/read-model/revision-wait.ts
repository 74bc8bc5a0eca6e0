/** Waits for views to reach revisions: woken by the projector when it runs in this process, by polling otherwise. */
import type { AccountRevision } from './read-model.js';

/** Readers that wait at once. Beyond it the views are far behind, and more polling would only slow them down. */
export const WAITING_READERS_MAX = 200;

const POLL_INTERVAL_MS_MIN = 5;
const POLL_INTERVAL_MS_MAX = 100;

/** Told that the projector has committed something. Returns how to stop listening. */
export type AppliedSignal = (listener: () => void) => () => void;

export type RevisionWaitOptions = {
  /** Whether the views have reached all of them. */
  readonly haveReached: (revisions: readonly AccountRevision[]) => Promise<boolean>;
  readonly onApplied?: AppliedSignal;
  readonly monotonicNowMs: () => number;
};

export class RevisionWait {
  readonly #options: RevisionWaitOptions;
  #waiting = 0;

  constructor(options: RevisionWaitOptions) {
    this.#options = options;
  }

  async wait(revisions: readonly AccountRevision[], timeoutMs: number): Promise<'current' | 'stale'> {
    if (revisions.length === 0 || (await this.#options.haveReached(revisions))) return 'current';
    if (this.#waiting >= WAITING_READERS_MAX) return 'stale';
    this.#waiting += 1;
    try {
      return await this.#poll(revisions, this.#options.monotonicNowMs() + timeoutMs);
    } finally {
      this.#waiting -= 1;
    }
  }

  async #poll(revisions: readonly AccountRevision[], deadlineMs: number): Promise<'current' | 'stale'> {
    let intervalMs = POLL_INTERVAL_MS_MIN;
    for (;;) {
      const remainingMs = deadlineMs - this.#options.monotonicNowMs();
      if (remainingMs <= 0) return 'stale';
      await this.#nextLook(Math.min(intervalMs, remainingMs));
      if (await this.#options.haveReached(revisions)) return 'current';
      intervalMs = Math.min(intervalMs * 2, POLL_INTERVAL_MS_MAX);
    }
  }

  /** Resolves at the projector's next commit, or after `delayMs`. */
  #nextLook(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      let stopListening: () => void = () => undefined;
      const timer = setTimeout(() => {
        stopListening();
        resolve();
      }, delayMs);
      stopListening =
        this.#options.onApplied?.(() => {
          clearTimeout(timer);
          stopListening();
          resolve();
        }) ?? stopListening;
    });
  }
}
