/**
 * The limits of a preset, applied together: sliding window, concurrency and tokens a minute per key, token bucket per project. A request
 * that one limit refuses is not counted by the others. Counts are this instance's own.
 */
import type { Clock } from '../../../platform/clock.js';
import type { Preset } from '../../../presets/preset-schema.js';
import { LruMap } from './lru-map.js';
import { SlidingWindow } from './sliding-window.js';
import { TokenBucket } from './token-bucket.js';

/** Keys and projects whose counts are kept; about 1 KB each. The least recently used start afresh. */
export const LIMITED_KEYS_MAX = 20_000;
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

export type LimitRefusal = {
  readonly status: 'refused';
  readonly refusal: 'rate_limited' | 'concurrency_limited';
  readonly message: string;
  readonly retryAfterSeconds: number;
};

/** A request let in. Call `release` exactly when it has ended, however it ended. */
export type LimitPass = { readonly status: 'admitted'; readonly release: () => void };

/** Tokens counted before a run by its bound; `settle` replaces the bound by what the engine counted. */
export type TokenReservation = { readonly settle: (tokens: number) => void };

type KeyState = { readonly requests: SlidingWindow | null; readonly tokens: SlidingWindow | null; concurrent: number };
type ProjectState = { readonly minute: TokenBucket; readonly day: TokenBucket };

export class RateLimiter {
  readonly #limits: Preset['limits'];
  readonly #clock: Clock;
  readonly #keys = new LruMap<string, KeyState>(LIMITED_KEYS_MAX, (state) => state.concurrent === 0);
  readonly #projects = new LruMap<string, ProjectState>(LIMITED_KEYS_MAX);
  /**
   * `burst` requests in any stretch of `burst / requests_per_minute` minutes: a short burst may take it all at once, and the average never
   * exceeds the requests a minute.
   */
  readonly #windowMs: number;

  constructor(limits: Preset['limits'], clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    const window = limits.sliding_window;
    this.#windowMs = window === undefined ? MINUTE_MS : Math.max(1, window.burst / window.requests_per_minute) * MINUTE_MS;
  }

  admit(keyId: string, projectId: string): LimitPass | LimitRefusal {
    const nowMs = this.#clock.nowMs();
    const key = this.#key(keyId, nowMs);
    const project = this.#project(projectId, nowMs);
    const refusal = this.#refusalOf(key, project, nowMs);
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

  /** Counts a run's bound against the key's tokens a minute. A bound above the whole limit counts as the limit, so that every run can pass. */
  reserveTokens(keyId: string, tokensMax: number): TokenReservation | LimitRefusal {
    const limit = this.#limits.tokens_per_minute;
    if (limit === undefined) return UNLIMITED_TOKENS;
    const nowMs = this.#clock.nowMs();
    const window = this.#key(keyId, nowMs).tokens;
    if (window === null) return UNLIMITED_TOKENS;
    const counted = Math.min(tokensMax, limit);
    if (window.total(nowMs) + counted > limit) {
      const message = `Rate limit exceeded: ${limit} tokens a minute per key, and this request may need ${tokensMax}.`;
      return refused(message, window.fallsToAtMs(limit - counted, nowMs) - nowMs);
    }
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

  /** How many requests of a key are under way. */
  concurrentOf(keyId: string): number {
    return this.#keys.get(keyId)?.concurrent ?? 0;
  }

  /** What the headers tell; `null` stands for a limit that the preset does not have. */
  usageOf(caller: { readonly keyId: string; readonly projectId: string }) {
    const nowMs = this.#clock.nowMs();
    const key = this.#key(caller.keyId, nowMs);
    const project = this.#project(caller.projectId, nowMs);
    return { nowMs, requests: this.#requestUsage(key, nowMs), tokens: this.#tokenUsage(key, nowMs), project: bucketUsage(project, nowMs) };
  }

  #requestUsage(key: KeyState, nowMs: number) {
    const limits = this.#limits.sliding_window;
    if (limits === undefined || key.requests === null) return null;
    const lastMinute = key.requests.totalOfLast(MINUTE_MS, nowMs);
    const blocked = key.requests.total(nowMs) >= limits.burst;
    const resetMs = blocked ? key.requests.fallsToAtMs(limits.burst - 1, nowMs) : nowMs + MINUTE_MS;
    return { limit: limits.requests_per_minute, remaining: Math.max(0, limits.requests_per_minute - lastMinute), resetMs };
  }

  #tokenUsage(key: KeyState, nowMs: number) {
    const limit = this.#limits.tokens_per_minute;
    if (limit === undefined || key.tokens === null) return null;
    return { limit, remaining: Math.max(0, limit - key.tokens.total(nowMs)), resetMs: key.tokens.fallsToAtMs(0, nowMs) };
  }

  #refusalOf(key: KeyState, project: ProjectState | null, nowMs: number): LimitRefusal | null {
    const window = this.#limits.sliding_window;
    if (window !== undefined && key.requests !== null && key.requests.total(nowMs) >= window.burst) {
      const message = `Rate limit exceeded: ${window.requests_per_minute} requests a minute per key, ${window.burst} in a burst.`;
      return refused(message, key.requests.fallsToAtMs(window.burst - 1, nowMs) - nowMs);
    }
    const waitMs = project === null ? 0 : Math.max(project.minute.waitMs(nowMs), project.day.waitMs(nowMs));
    if (project !== null && waitMs > 0) {
      const message = `Rate limit exceeded: ${project.minute.capacity} requests a minute and ${project.day.capacity} a day per project.`;
      return refused(message, waitMs);
    }
    const concurrentMax = this.#limits.concurrent_requests;
    if (concurrentMax !== undefined && key.concurrent >= concurrentMax) {
      const message = `Too many requests at the same time: ${concurrentMax} per key.`;
      return { status: 'refused', refusal: 'concurrency_limited', message, retryAfterSeconds: 1 };
    }
    return null;
  }

  #key(keyId: string, nowMs: number): KeyState {
    const known = this.#keys.get(keyId);
    if (known !== undefined) return known;
    const state = {
      requests: this.#limits.sliding_window === undefined ? null : new SlidingWindow(this.#windowMs, nowMs),
      tokens: this.#limits.tokens_per_minute === undefined ? null : new SlidingWindow(MINUTE_MS, nowMs),
      concurrent: 0,
    };
    this.#keys.set(keyId, state);
    return state;
  }

  #project(projectId: string, nowMs: number): ProjectState | null {
    const limits = this.#limits.token_bucket;
    if (limits === undefined) return null;
    const known = this.#projects.get(projectId);
    if (known !== undefined) return known;
    const state = {
      minute: new TokenBucket(limits.per_minute, MINUTE_MS, nowMs),
      day: new TokenBucket(limits.per_day, DAY_MS, nowMs),
    };
    this.#projects.set(projectId, state);
    return state;
  }
}

const UNLIMITED_TOKENS: TokenReservation = { settle: () => undefined };

function refused(message: string, waitMs: number): LimitRefusal {
  return { status: 'refused', refusal: 'rate_limited', message, retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1_000)) };
}

function bucketUsage(project: ProjectState | null, nowMs: number) {
  if (project === null) return null;
  const usage = (bucket: TokenBucket) => ({ limit: bucket.capacity, remaining: bucket.remaining(nowMs), resetMs: bucket.fullAtMs(nowMs) });
  return { minute: usage(project.minute), day: usage(project.day) };
}
