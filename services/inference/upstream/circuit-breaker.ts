/**
 * Leaves out an engine that keeps failing, so that runs do not wait for its timeouts one after the other.
 *
 *     closed ──failures in a row──▶ open ──openMs──▶ half open ──one run goes through──▶ closed, or open again
 */

export type BreakerSettings = {
  /** Failures in a row that open it. */
  readonly failuresMax: number;
  /** How long it stays open before one run may try. */
  readonly openMs: number;
};

/**
 * Few enough that a dead server costs little, more than one bad moment; and shorter than the five seconds after which a restarted process
 * must serve again.
 */
export const BREAKER_DEFAULT: BreakerSettings = { failuresMax: 5, openMs: 3_000 };

export class CircuitBreaker {
  readonly #settings: BreakerSettings;
  #failuresInRow = 0;
  /** `null`: closed. */
  #openUntilMs: number | null = null;
  #isProbing = false;

  constructor(settings: BreakerSettings) {
    this.#settings = settings;
  }

  get failuresInRow(): number {
    return this.#failuresInRow;
  }

  /** Whether `enter` would let a run through. */
  isPassable(nowMs: number): boolean {
    return this.#openUntilMs === null || (nowMs >= this.#openUntilMs && !this.#isProbing);
  }

  /** Lets a run through, or not. One that goes through must end in `succeeded`, `failed` or `undecided`. */
  enter(nowMs: number): 'closed' | 'probe' | 'refused' {
    if (this.#openUntilMs === null) return 'closed';
    if (!this.isPassable(nowMs)) return 'refused';
    this.#isProbing = true;
    return 'probe';
  }

  succeeded(): void {
    this.#failuresInRow = 0;
    this.#openUntilMs = null;
    this.#isProbing = false;
  }

  /** True when this failure opened it. Runs that entered before it opened change nothing by failing later. */
  failed(entry: 'closed' | 'probe', nowMs: number): boolean {
    const isNews = entry === 'probe' || this.#openUntilMs === null;
    if (!isNews) return false;
    this.#failuresInRow += 1;
    if (entry === 'closed' && this.#failuresInRow < this.#settings.failuresMax) return false;
    this.#openUntilMs = nowMs + this.#settings.openMs;
    this.#isProbing = false;
    return true;
  }

  /** The run ended in a way that says nothing of the engine. */
  undecided(entry: 'closed' | 'probe'): void {
    if (entry === 'probe') this.#isProbing = false;
  }
}
