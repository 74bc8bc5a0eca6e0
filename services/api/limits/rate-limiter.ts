/** The limits of one process: every answer is there at once. For the embedded deployment, where one process is all there is. */
import type { Clock } from '../../../platform/clock.js';
import { countedTokens, refusalOfAdmission, refusalOfTokens } from './counts.js';
import { CountsByCaller } from './counts-by-caller.js';
import {
  type LimitedCaller,
  type Limiter,
  type LimitPass,
  type LimitRefusal,
  type LimitUsage,
  type TokenReservation,
  UNLIMITED_TOKENS,
} from './limiter.js';
import type { LimitsOffer } from './plan-limits.js';

export class RateLimiter implements Limiter {
  readonly #clock: Clock;
  readonly #counts: CountsByCaller;

  constructor(offer: LimitsOffer, clock: Clock) {
    this.#clock = clock;
    this.#counts = new CountsByCaller(offer);
  }

  admit(caller: LimitedCaller): LimitPass | LimitRefusal {
    const nowMs = this.#clock.nowMs();
    const limits = this.#counts.limitsOf(caller);
    const key = this.#counts.key(caller.keyId, limits, nowMs);
    const project = this.#counts.project(caller.projectId, limits, nowMs);
    const refusal = refusalOfAdmission(limits, key, project, nowMs);
    if (refusal !== null) return refusal;
    key.requests?.add(1, nowMs);
    project?.minute.take(nowMs);
    project?.day.take(nowMs);
    key.concurrent += 1;
    let released = false;
    return {
      status: 'admitted',
      release: () => {
        if (released) return;
        released = true;
        key.concurrent -= 1;
      },
    };
  }

  reserveTokens(caller: LimitedCaller, tokensMax: number): TokenReservation | LimitRefusal {
    const limits = this.#counts.limitsOf(caller);
    const limit = limits.tokens_per_minute;
    if (limit === undefined) return UNLIMITED_TOKENS;
    const nowMs = this.#clock.nowMs();
    const window = this.#counts.key(caller.keyId, limits, nowMs).tokens;
    if (window === null) return UNLIMITED_TOKENS;
    const counted = countedTokens(limit, tokensMax);
    if (window.total(nowMs) + counted > limit) return refusalOfTokens(limit, window, tokensMax, nowMs);
    const slot = window.add(counted, nowMs);
    let settled = false;
    return {
      settle: (tokens) => {
        if (settled) return;
        settled = true;
        window.correct(slot, tokens - counted, this.#clock.nowMs());
      },
    };
  }

  usageOf(caller: LimitedCaller | null): LimitUsage {
    return this.#counts.usageOf(caller, this.#clock.nowMs());
  }

  concurrentOf(keyId: string): number {
    return this.#counts.knownKey(keyId)?.concurrent ?? 0;
  }
}
