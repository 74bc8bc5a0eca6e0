/** Sees when the settlement of an answered request is visible in the views: asks Postgres for all that are missing, again and again. */
import type { Pool } from 'pg';

/** Resolution of the lags that are measured. */
const LOOK_EVERY_MS = 5;

export type Seen = { readonly runId: string; readonly sinceMs: number; readonly seenMs: number };

export class SettlementWatch {
  readonly #pool: Pool;
  readonly #onSeen: (seen: Seen) => void;
  readonly #missing = new Map<string, number>();
  #isStopped = false;
  readonly #looking: Promise<void>;

  constructor(pool: Pool, onSeen: (seen: Seen) => void) {
    this.#pool = pool;
    this.#onSeen = onSeen;
    this.#looking = this.#look();
  }

  get missing(): number {
    return this.#missing.size;
  }

  /** `sinceMs` on `performance.now()`'s clock. */
  expect(runId: string, sinceMs: number): void {
    this.#missing.set(runId, sinceMs);
  }

  stop(): Promise<void> {
    this.#isStopped = true;
    return this.#looking;
  }

  async #look(): Promise<void> {
    while (!this.#isStopped) {
      if (this.#missing.size > 0) {
        const { rows } = await this.#pool.query<{ run_id: string }>({
          name: 'settled-runs',
          text: 'select run_id from read_model.requests where run_id = any($1) and settled_at is not null',
          values: [[...this.#missing.keys()]],
        });
        const seenMs = performance.now();
        for (const { run_id: runId } of rows) {
          const sinceMs = this.#missing.get(runId);
          if (sinceMs === undefined) continue;
          this.#missing.delete(runId);
          this.#onSeen({ runId, sinceMs, seenMs });
        }
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }
}
