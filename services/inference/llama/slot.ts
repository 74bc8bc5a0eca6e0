/** One sequence of the context and what its cache holds, so that a prompt that begins the same way need not be read again. */
export class Slot {
  readonly #tokens: Uint32Array;
  #held = 0;
  isFree = true;

  constructor(
    readonly index: number,
    /** Positions it has. */
    readonly size: number,
  ) {
    this.#tokens = new Uint32Array(size);
  }

  /** Tokens that have been evaluated and are still in the cache. */
  get held(): number {
    return this.#held;
  }

  hold(tokens: Uint32Array): void {
    this.#tokens.set(tokens, this.#held);
    this.#held += tokens.length;
  }

  truncate(held: number): void {
    this.#held = held;
  }

  /** How many tokens of the prompt the cache begins with. */
  commonPrefix(prompt: Uint32Array): number {
    const max = Math.min(this.#held, prompt.length);
    let common = 0;
    while (common < max && this.#tokens[common] === prompt[common]) common += 1;
    return common;
  }
}
