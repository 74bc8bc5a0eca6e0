/**
 * A sliding window in constant memory: amounts are counted in slots, and a slot counts until the whole of it has left the window. It is
 * never more generous than an exact log (within any window at most the limit passes) and at most one slot stricter.
 */

/** Slots of one window. With a window of a minute an amount counts for 60 to 61 seconds. */
export const SLOTS = 60;
/** One more than the window has, so that the oldest slot leaves only when its youngest amount is a window old. */
const RING = SLOTS + 1;

export class SlidingWindow {
  readonly #amounts = new Float64Array(RING);
  readonly windowMs: number;
  readonly #slotMs: number;
  #head: number;
  #total = 0;

  constructor(windowMs: number, nowMs: number) {
    this.windowMs = windowMs;
    this.#slotMs = windowMs / SLOTS;
    this.#head = this.#slotAt(nowMs);
  }

  get slotMs(): number {
    return this.#slotMs;
  }

  /** Takes over what was counted elsewhere: one amount per place of the ring, of which the slot `head` is the newest. */
  load(amounts: readonly number[], head: number): void {
    this.#amounts.set(amounts);
    this.#total = amounts.reduce((sum, amount) => sum + amount, 0);
    this.#head = head;
  }

  /** Sum of the amounts in the window. */
  total(nowMs: number): number {
    this.#advance(nowMs);
    return this.#total;
  }

  /** Counts an amount and returns its slot, by which it can be corrected later. */
  add(amount: number, nowMs: number): number {
    this.#advance(nowMs);
    const index = this.#head % RING;
    this.#amounts[index] = (this.#amounts[index] ?? 0) + amount;
    this.#total += amount;
    return this.#head;
  }

  /** Changes an amount counted earlier by `difference`; nothing happens when its slot has already left the window. */
  correct(slot: number, difference: number, nowMs: number): void {
    this.#advance(nowMs);
    if (slot <= this.#head - RING) return;
    const index = slot % RING;
    this.#amounts[index] = (this.#amounts[index] ?? 0) + difference;
    this.#total += difference;
  }

  /** Unix milliseconds at which the total will have fallen to `total` or below if nothing more is added. */
  fallsToAtMs(total: number, nowMs: number): number {
    this.#advance(nowMs);
    let rest = this.#total;
    for (let slot = this.#head - RING + 1; slot <= this.#head && rest > total; slot += 1) {
      rest -= slot < 0 ? 0 : (this.#amounts[slot % RING] ?? 0);
      if (rest <= total) return (slot + RING) * this.#slotMs;
    }
    return nowMs;
  }

  /** Sum of the youngest slots that cover the last `spanMs`. */
  totalOfLast(spanMs: number, nowMs: number): number {
    this.#advance(nowMs);
    const first = Math.max(0, this.#head - RING + 1, this.#slotAt(nowMs - spanMs));
    let sum = 0;
    for (let slot = first; slot <= this.#head; slot += 1) sum += this.#amounts[slot % RING] ?? 0;
    return sum;
  }

  #slotAt(timeMs: number): number {
    return Math.floor(timeMs / this.#slotMs);
  }

  /** A clock that jumps back stays in the newest slot. */
  #advance(nowMs: number): void {
    const current = this.#slotAt(nowMs);
    if (current <= this.#head) return;
    if (current - this.#head >= RING) {
      this.#amounts.fill(0);
      this.#total = 0;
    } else {
      for (let slot = this.#head + 1; slot <= current; slot += 1) {
        const index = slot % RING;
        this.#total -= this.#amounts[index] ?? 0;
        this.#amounts[index] = 0;
      }
    }
    this.#head = current;
  }
}
