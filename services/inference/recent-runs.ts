/** What a worker remembers of runs that are not in its hands (any more): attempts it has taken, and cancellations that came early. */

/** Remembered runs of each kind; the oldest are forgotten first. Duplicates and early cancellations come within seconds. */
export const RECENT_RUNS_MAX = 10_000;

export class RecentRuns {
  readonly #attempts = new Map<string, number>();
  readonly #cancelled = new Set<string>();

  /** Whether this attempt is newer than any seen of its run; remembers it. */
  isNewAttempt(runId: string, attempt: number): boolean {
    const seen = this.#attempts.get(runId) ?? 0;
    if (attempt <= seen) return false;
    this.#attempts.delete(runId);
    this.#attempts.set(runId, attempt);
    forgetOldest(this.#attempts);
    return true;
  }

  noteCancelled(runId: string): void {
    this.#cancelled.add(runId);
    forgetOldest(this.#cancelled);
  }

  wasCancelled(runId: string): boolean {
    return this.#cancelled.has(runId);
  }
}

function forgetOldest(collection: Map<string, unknown> | Set<string>): void {
  if (collection.size <= RECENT_RUNS_MAX) return;
  const oldest = collection.keys().next().value;
  if (oldest !== undefined) collection.delete(oldest);
}
