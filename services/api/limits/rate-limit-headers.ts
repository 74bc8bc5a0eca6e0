/**
 * The three documented families of rate-limit headers. `simple`: X-RateLimit-Limit, -Remaining, -Reset (epoch seconds). `requests_tokens`:
 * x-ratelimit-{limit,remaining,reset}-{requests,tokens}, resets in ISO 8601. `minute_day`: X-RateLimit-{Limit,Remaining,Reset}-{Minute,Day},
 * resets in epoch seconds. A family is sent where the preset names it and has the limit behind it.
 */
import type { RATE_LIMIT_HEADER_FAMILIES } from '../../../presets/preset-schema.js';
import type { LimitedCaller, Limiter, WindowUsage } from './limiter.js';

type HeaderFamily = (typeof RATE_LIMIT_HEADER_FAMILIES)[number];

/** Limit, remaining, reset. */
type HeaderNames = readonly [string, string, string];
const SIMPLE: HeaderNames = ['X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset'];
const REQUESTS: HeaderNames = ['x-ratelimit-limit-requests', 'x-ratelimit-remaining-requests', 'x-ratelimit-reset-requests'];
const TOKENS: HeaderNames = ['x-ratelimit-limit-tokens', 'x-ratelimit-remaining-tokens', 'x-ratelimit-reset-tokens'];
const MINUTE: HeaderNames = ['X-RateLimit-Limit-Minute', 'X-RateLimit-Remaining-Minute', 'X-RateLimit-Reset-Minute'];
const DAY: HeaderNames = ['X-RateLimit-Limit-Day', 'X-RateLimit-Remaining-Day', 'X-RateLimit-Reset-Day'];

/** Appends names and values to a flat list. `caller` is `null` when nobody was authenticated: then nothing remains to be used. */
export type RateLimitHeaderWriter = (into: string[], caller: LimitedCaller | null) => void;

export function createRateLimitHeaders(families: readonly HeaderFamily[], limiter: Limiter): RateLimitHeaderWriter {
  const simple = families.includes('simple');
  const requestsTokens = families.includes('requests_tokens');
  const minuteDay = families.includes('minute_day');
  return (into, caller) => {
    const usage = limiter.usageOf(caller);
    // Without a sliding window the project's bucket is what limits requests a minute.
    const requests = usage.requests ?? usage.project?.minute ?? null;
    if (simple && requests !== null) {
      pushWindow(into, SIMPLE, requests, epochSeconds(requests.resetMs));
    }
    if (requestsTokens) {
      if (requests !== null) pushWindow(into, REQUESTS, requests, isoSeconds(requests.resetMs));
      if (usage.tokens !== null) pushWindow(into, TOKENS, usage.tokens, isoSeconds(usage.tokens.resetMs));
    }
    if (minuteDay && usage.project !== null) {
      pushWindow(into, MINUTE, usage.project.minute, epochSeconds(usage.project.minute.resetMs));
      pushWindow(into, DAY, usage.project.day, epochSeconds(usage.project.day.resetMs));
    }
  };
}

function pushWindow(into: string[], names: HeaderNames, window: WindowUsage, reset: string): void {
  into.push(names[0], String(window.limit), names[1], String(Math.floor(window.remaining)), names[2], reset);
}

/** Rounded up, so that who waits until then has waited long enough. */
function epochSeconds(timeMs: number): string {
  return String(Math.ceil(timeMs / 1_000));
}

let isoSecond = -1;
let isoText = '';

/** `2026-03-20T12:30:00Z`. The last one is kept: under load nearly all responses of a second show the same. */
function isoSeconds(timeMs: number): string {
  const second = Math.ceil(timeMs / 1_000);
  if (second !== isoSecond) {
    isoSecond = second;
    isoText = `${new Date(second * 1_000).toISOString().slice(0, 19)}Z`;
  }
  return isoText;
}
