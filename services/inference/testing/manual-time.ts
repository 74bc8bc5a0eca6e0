/** Time that passes when a test says so; deferred work still runs on the event loop. */
import type { Clock } from '../../../platform/clock.js';
import { eventLoopScheduler, type Scheduler } from '../../../platform/scheduler.js';

export class ManualTime implements Clock, Scheduler {
  #nowMs = 1_000_000;
  readonly #due = new Set<{ readonly atMs: number; readonly work: () => void }>();

  nowMs(): number {
    return this.#nowMs;
  }

  defer(work: () => void): void {
    eventLoopScheduler.defer(work);
  }

  delay(work: () => void, delayMs: number): () => void {
    const entry = { atMs: this.#nowMs + delayMs, work };
    this.#due.add(entry);
    return () => this.#due.delete(entry);
  }

  /** Lets time pass and does what falls due, in order, including what that sets up. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const next = [...this.#due].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#due.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.work();
    }
    this.#nowMs = endMs;
  }
}
