/** The counts of all callers that were seen lately, each under the limits of its plan. */
import { KeyCounts, ProjectCounts, usageOfCounts, usageOfNobody } from './counts.js';
import type { LimitedCaller, LimitUsage } from './limiter.js';
import { LruMap } from './lru-map.js';
import { type Limits, type LimitsOffer, PlanLimits } from './plan-limits.js';

/** Keys and projects whose counts are kept; about 1 KB each. The least recently used start afresh. */
export const LIMITED_KEYS_MAX = 20_000;

export class CountsByCaller {
  readonly #plans: PlanLimits;
  readonly #keys = new LruMap<string, KeyCounts>(LIMITED_KEYS_MAX, (counts) => counts.concurrent === 0);
  readonly #projects = new LruMap<string, ProjectCounts>(LIMITED_KEYS_MAX);

  constructor(offer: LimitsOffer) {
    this.#plans = new PlanLimits(offer);
  }

  limitsOf(caller: LimitedCaller | null): Limits {
    return this.#plans.of(caller?.plan);
  }

  /** Of a key that was not seen: nothing counted. */
  key(keyId: string, limits: Limits, nowMs: number): KeyCounts {
    let counts = this.#keys.get(keyId);
    if (counts === undefined) {
      counts = new KeyCounts();
      this.#keys.set(keyId, counts);
    }
    counts.adopt(limits, nowMs);
    return counts;
  }

  knownKey(keyId: string): KeyCounts | undefined {
    return this.#keys.get(keyId);
  }

  /** `null` where projects are not limited. */
  project(projectId: string, limits: Limits, nowMs: number): ProjectCounts | null {
    const bucket = limits.token_bucket;
    if (bucket === undefined) return null;
    let counts = this.#projects.get(projectId);
    if (counts === undefined) {
      counts = new ProjectCounts(bucket, nowMs);
      this.#projects.set(projectId, counts);
    }
    counts.adopt(bucket, nowMs);
    return counts;
  }

  usageOf(caller: LimitedCaller | null, nowMs: number): LimitUsage {
    const limits = this.limitsOf(caller);
    if (caller === null) return usageOfNobody(limits, nowMs);
    return usageOfCounts(limits, this.key(caller.keyId, limits, nowMs), this.project(caller.projectId, limits, nowMs), nowMs);
  }
}
