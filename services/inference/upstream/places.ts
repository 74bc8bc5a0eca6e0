/** How many runs may be at an upstream at once, and how many may wait for that. */

type Waiting = { readonly signal: AbortSignal; readonly settle: (outcome: 'taken' | 'aborted') => void; readonly onAbort: () => void };

export class Places {
  readonly #placesMax: number;
  readonly #queuedMax: number;
  readonly #queue: Waiting[] = [];
  #taken = 0;

  constructor(placesMax: number, queuedMax: number) {
    this.#placesMax = placesMax;
    this.#queuedMax = queuedMax;
  }

  get taken(): number {
    return this.#taken;
  }

  get queued(): number {
    return this.#queue.length;
  }

  get areFull(): boolean {
    return this.#taken + this.#queue.length >= this.#placesMax + this.#queuedMax;
  }

  /** Takes a place, at once or in turn. Whoever gets `taken` must `leave()`. The caller has looked at `areFull`. */
  take(signal: AbortSignal): Promise<'taken' | 'aborted'> {
    if (this.#taken < this.#placesMax) {
      this.#taken += 1;
      return Promise.resolve('taken');
    }
    return new Promise((settle) => {
      const waiting: Waiting = { signal, settle, onAbort: () => this.#giveUp(waiting) };
      signal.addEventListener('abort', waiting.onAbort, { once: true });
      this.#queue.push(waiting);
    });
  }

  leave(): void {
    const next = this.#queue.shift();
    if (next === undefined) {
      this.#taken -= 1;
      return;
    }
    next.signal.removeEventListener('abort', next.onAbort);
    next.settle('taken');
  }

  #giveUp(waiting: Waiting): void {
    const turn = this.#queue.indexOf(waiting);
    if (turn < 0) return;
    this.#queue.splice(turn, 1);
    waiting.settle('aborted');
  }
}
