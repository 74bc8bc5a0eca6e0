/** A token bucket: holds up to `capacity` tokens and refills evenly over `periodMs`. Pure; the caller brings the time. */

export class TokenBucket {
  #capacity: number;
  readonly #periodMs: number;
  #tokensPerMs: number;
  #tokens: number;
  #refilledAtMs: number;

  constructor(capacity: number, periodMs: number, nowMs: number) {
    this.#capacity = capacity;
    this.#periodMs = periodMs;
    this.#tokensPerMs = capacity / periodMs;
    this.#tokens = capacity;
    this.#refilledAtMs = nowMs;
  }

  get capacity(): number {
    return this.#capacity;
  }

  /** What was taken stays taken: a larger bucket has more left, a smaller one less. */
  resize(capacity: number, nowMs: number): void {
    this.#refill(nowMs);
    this.#tokens = Math.max(0, this.#tokens + capacity - this.#capacity);
    this.#capacity = capacity;
    this.#tokensPerMs = capacity / this.#periodMs;
  }

  /** Takes over what was counted elsewhere: `used` tokens were missing at `atMs`. */
  load(used: number, atMs: number): void {
    this.#tokens = this.#capacity - used;
    this.#refilledAtMs = atMs;
  }

  /** Whole tokens to be had now. */
  remaining(nowMs: number): number {
    this.#refill(nowMs);
    return Math.floor(this.#tokens);
  }

  /** Takes one token; the caller has seen that there is one. */
  take(nowMs: number): void {
    this.#refill(nowMs);
    this.#tokens -= 1;
  }

  /** Milliseconds until a token can be had; 0 when there is one. */
  waitMs(nowMs: number): number {
    this.#refill(nowMs);
    return this.#tokens >= 1 ? 0 : Math.ceil((1 - this.#tokens) / this.#tokensPerMs);
  }

  /** Unix milliseconds at which the bucket is full again. */
  fullAtMs(nowMs: number): number {
    this.#refill(nowMs);
    return nowMs + Math.ceil((this.#capacity - this.#tokens) / this.#tokensPerMs);
  }

  /** Floating point may leave a token at 0.999999…; the epsilon keeps a promised refill time true. */
  #refill(nowMs: number): void {
    if (nowMs <= this.#refilledAtMs) return;
    const refilled = this.#tokens + (nowMs - this.#refilledAtMs) * this.#tokensPerMs;
    this.#tokens = Math.min(this.#capacity, refilled + 1e-9);
    this.#refilledAtMs = nowMs;
  }
}
