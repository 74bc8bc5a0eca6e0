/** Notices when an upstream has said nothing for too long. A byte costs one assignment, not a timer. */
import type { Scheduler } from '../../../platform/scheduler.js';

/** Looks per limit: silence is noticed between one limit and a quarter more. */
const LOOKS_PER_LIMIT = 4;

export class SilenceWatch {
  readonly #scheduler: Scheduler;
  readonly #onSilence: () => void;
  #limitMs: number;
  #quietLooks = 0;
  #callOff: () => void = () => {};

  constructor(options: { readonly scheduler: Scheduler; readonly limitMs: number; readonly onSilence: () => void }) {
    this.#scheduler = options.scheduler;
    this.#limitMs = options.limitMs;
    this.#onSilence = options.onSilence;
    this.#lookLater();
  }

  /** Something was heard; from now on silence may last `limitMs`. */
  heard(limitMs: number): void {
    this.#quietLooks = 0;
    if (limitMs === this.#limitMs) return;
    this.#limitMs = limitMs;
    this.#callOff();
    this.#lookLater();
  }

  stop(): void {
    this.#callOff();
  }

  #lookLater(): void {
    this.#callOff = this.#scheduler.delay(() => {
      this.#quietLooks += 1;
      if (this.#quietLooks > LOOKS_PER_LIMIT) this.#onSilence();
      else this.#lookLater();
    }, this.#limitMs / LOOKS_PER_LIMIT);
  }
}
