/** Freezes the double: requests are accepted, and either wait to be carried out or are carried out and never answered. */

/**
 * `accepting`: nothing is carried out until the thaw, then everything that waited is, late, as after a SIGSTOP.
 * `writing`: everything is carried out at once and its answer is lost for good.
 */
export type Freeze = 'accepting' | 'writing';

export class Gate {
  #freeze: Freeze | null = null;
  #waiting: (() => void)[] = [];
  /** Requests that have reached the gate since it was frozen. */
  held = 0;

  freeze(how: Freeze): void {
    this.#freeze = how;
    this.held = 0;
  }

  thaw(): void {
    this.#freeze = null;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const pass of waiting) pass();
  }

  /** Calls `pass` now, or after the thaw. */
  toWork(pass: () => void): void {
    if (this.#freeze === null) {
      pass();
      return;
    }
    this.held += 1;
    if (this.#freeze === 'accepting') this.#waiting.push(pass);
    else pass();
  }

  /** Whether an answer may leave. */
  mayAnswer(): boolean {
    return this.#freeze !== 'writing';
  }
}
