/** What has been counted of a key and of a project, and what follows from it: refusals with the time to wait, and the figures of the headers. */
import type { LimitRefusal, LimitUsage, WindowUsage } from './limiter.js';
import type { Limits } from './plan-limits.js';
import { SlidingWindow } from './sliding-window.js';
import { TokenBucket } from './token-bucket.js';

export const MINUTE_MS = 60_000;
export const DAY_MS = 86_400_000;

/**
 * `burst` requests in any stretch of `burst / requests_per_minute` minutes: a short burst may take it all at once, and the average never
 * exceeds the requests a minute.
 */
export function requestsWindowMs(window: NonNullable<Limits['sliding_window']>): number {
  return Math.max(1, window.burst / window.requests_per_minute) * MINUTE_MS;
}

export class KeyCounts {
  requests: SlidingWindow | null = null;
  tokens: SlidingWindow | null = null;
  /** Requests under way. */
  concurrent = 0;
  #limits: Limits | null = null;

  /** Under other limits than before, what was counted goes on counting, from now. */
  adopt(limits: Limits, nowMs: number): void {
    if (limits === this.#limits) return;
    this.#limits = limits;
    this.tokens = limits.tokens_per_minute === undefined ? null : (this.tokens ?? new SlidingWindow(MINUTE_MS, nowMs));
    const windowMs = limits.sliding_window === undefined ? null : requestsWindowMs(limits.sliding_window);
    if (windowMs === this.requests?.windowMs) return;
    const counted = this.requests?.total(nowMs) ?? 0;
    this.requests = windowMs === null ? null : new SlidingWindow(windowMs, nowMs);
    this.requests?.add(counted, nowMs);
  }
}

export class ProjectCounts {
  readonly minute: TokenBucket;
  readonly day: TokenBucket;

  constructor(limits: NonNullable<Limits['token_bucket']>, nowMs: number) {
    this.minute = new TokenBucket(limits.per_minute, MINUTE_MS, nowMs);
    this.day = new TokenBucket(limits.per_day, DAY_MS, nowMs);
  }

  /** Takes over what was counted elsewhere. */
  load(minuteUsed: number, dayUsed: number, atMs: number): void {
    this.minute.load(minuteUsed, atMs);
    this.day.load(dayUsed, atMs);
  }

  adopt(limits: NonNullable<Limits['token_bucket']>, nowMs: number): void {
    if (limits.per_minute !== this.minute.capacity) this.minute.resize(limits.per_minute, nowMs);
    if (limits.per_day !== this.day.capacity) this.day.resize(limits.per_day, nowMs);
  }
}

/** Why one more request cannot be let in; `null` when it can. */
export function refusalOfAdmission(limits: Limits, key: KeyCounts, project: ProjectCounts | null, nowMs: number): LimitRefusal | null {
  const window = limits.sliding_window;
  if (window !== undefined && key.requests !== null && key.requests.total(nowMs) >= window.burst) {
    const message = `Rate limit exceeded: ${window.requests_per_minute} requests a minute per key, ${window.burst} in a burst.`;
    return rateLimited(message, key.requests.fallsToAtMs(window.burst - 1, nowMs) - nowMs);
  }
  const waitMs = project === null ? 0 : Math.max(project.minute.waitMs(nowMs), project.day.waitMs(nowMs));
  if (project !== null && waitMs > 0) {
    const message = `Rate limit exceeded: ${project.minute.capacity} requests a minute and ${project.day.capacity} a day per project.`;
    return rateLimited(message, waitMs);
  }
  const concurrentMax = limits.concurrent_requests;
  if (concurrentMax !== undefined && key.concurrent >= concurrentMax) {
    const message = `Too many requests at the same time: ${concurrentMax} per key.`;
    return { status: 'refused', refusal: 'concurrency_limited', message, retryAfterSeconds: 1 };
  }
  return null;
}

/** What a bound counts as: the whole limit at most, so that a run with a greater one passes when nothing else is counted. */
export function countedTokens(limit: number, tokensMax: number): number {
  return Math.min(tokensMax, limit);
}

export function refusalOfTokens(limit: number, window: SlidingWindow, tokensMax: number, nowMs: number): LimitRefusal {
  const message = `Rate limit exceeded: ${limit} tokens a minute per key, and this request may need ${tokensMax}.`;
  return rateLimited(message, window.fallsToAtMs(limit - countedTokens(limit, tokensMax), nowMs) - nowMs);
}

export function rateLimited(message: string, waitMs: number): LimitRefusal {
  return { status: 'refused', refusal: 'rate_limited', message, retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1_000)) };
}

export function usageOfCounts(limits: Limits, key: KeyCounts, project: ProjectCounts | null, nowMs: number): LimitUsage {
  return {
    requests: requestUsage(limits, key, nowMs),
    tokens: tokenUsage(limits, key, nowMs),
    project: project === null ? null : { minute: bucketUsage(project.minute, nowMs), day: bucketUsage(project.day, nowMs) },
  };
}

/** For somebody who is not known: the limits as they are, and nothing of them to use. */
export function usageOfNobody(limits: Limits, nowMs: number): LimitUsage {
  const nothing = (limit: number): WindowUsage => ({ limit, remaining: 0, resetMs: nowMs });
  const { sliding_window, tokens_per_minute, token_bucket } = limits;
  return {
    requests: sliding_window === undefined ? null : nothing(sliding_window.requests_per_minute),
    tokens: tokens_per_minute === undefined ? null : nothing(tokens_per_minute),
    project: token_bucket === undefined ? null : { minute: nothing(token_bucket.per_minute), day: nothing(token_bucket.per_day) },
  };
}

function requestUsage(limits: Limits, key: KeyCounts, nowMs: number): WindowUsage | null {
  const window = limits.sliding_window;
  if (window === undefined || key.requests === null) return null;
  const lastMinute = key.requests.totalOfLast(MINUTE_MS, nowMs);
  const blocked = key.requests.total(nowMs) >= window.burst;
  const resetMs = blocked ? key.requests.fallsToAtMs(window.burst - 1, nowMs) : nowMs + MINUTE_MS;
  return { limit: window.requests_per_minute, remaining: Math.max(0, window.requests_per_minute - lastMinute), resetMs };
}

function tokenUsage(limits: Limits, key: KeyCounts, nowMs: number): WindowUsage | null {
  const limit = limits.tokens_per_minute;
  if (limit === undefined || key.tokens === null) return null;
  return { limit, remaining: Math.max(0, limit - key.tokens.total(nowMs)), resetMs: key.tokens.fallsToAtMs(0, nowMs) };
}

function bucketUsage(bucket: TokenBucket, nowMs: number): WindowUsage {
  return { limit: bucket.capacity, remaining: bucket.remaining(nowMs), resetMs: bucket.fullAtMs(nowMs) };
}
