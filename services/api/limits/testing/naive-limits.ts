/** The limits as one would explain them: a log of all that was let in, looked through from the beginning each time. */
import type { Clock } from '../../../../platform/clock.js';
import type { Limits } from '../plan-limits.js';

/** A sixtieth of a window; what was counted in one leaves when all of it is a window old. */
const SLOTS = 60;

type Counted = { readonly atMs: number; amount: number };

export class NaiveLimits {
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #requests: Counted[] = [];
  readonly #tokens: Counted[] = [];
  #open: { readonly entry: Counted; readonly counted: number }[] = [];

  constructor(limits: Limits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  admit(underWay: number): boolean {
    const { sliding_window: window, token_bucket: bucket, concurrent_requests: concurrentMax } = this.#limits;
    const windowMs = window === undefined ? 0 : (window.burst / window.requests_per_minute) * 60_000;
    const isAdmitted =
      (window === undefined || this.#within(this.#requests, windowMs) < window.burst) &&
      (bucket === undefined || this.#left(bucket.per_minute, 60_000) >= 1) &&
      (bucket === undefined || this.#left(bucket.per_day, 86_400_000) >= 1) &&
      (concurrentMax === undefined || underWay < concurrentMax);
    if (isAdmitted) this.#requests.push({ atMs: this.#clock.nowMs(), amount: 1 });
    return isAdmitted;
  }

  reserve(tokensMax: number): boolean {
    const limit = this.#limits.tokens_per_minute ?? Number.POSITIVE_INFINITY;
    const counted = Math.min(tokensMax, limit);
    if (this.#within(this.#tokens, 60_000) + counted > limit) return false;
    const entry = { atMs: this.#clock.nowMs(), amount: counted };
    this.#tokens.push(entry);
    this.#open.push({ entry, counted });
    return true;
  }

  settle(place: number, tokens: number): void {
    const [open] = this.#open.splice(place, 1);
    if (open !== undefined) open.entry.amount = tokens;
  }

  #within(log: readonly Counted[], windowMs: number): number {
    const slotOf = (timeMs: number) => Math.floor(timeMs / (windowMs / SLOTS));
    const now = slotOf(this.#clock.nowMs());
    return log.reduce((sum, { atMs, amount }) => (now - slotOf(atMs) <= SLOTS ? sum + amount : sum), 0);
  }

  #left(capacity: number, periodMs: number): number {
    let left = capacity;
    let atMs = this.#requests[0]?.atMs ?? 0;
    for (const request of this.#requests) {
      left = Math.min(capacity, left + ((request.atMs - atMs) * capacity) / periodMs) - 1;
      atMs = request.atMs;
    }
    return Math.min(capacity, left + ((this.#clock.nowMs() - atMs) * capacity) / periodMs);
  }
}
