/** The limits as pure machines, with a clock that the tests move. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { LruMap } from './lru-map.js';
import { createRateLimitHeaders } from './rate-limit-headers.js';
import { RateLimiter } from './rate-limiter.js';
import { SlidingWindow } from './sliding-window.js';
import { describeLimiterContract, MovableClock, START_MS } from './testing/limiter-contract.js';
import { TokenBucket } from './token-bucket.js';

const caller = { keyId: 'key_1', projectId: 'prj_1' };

describe('sliding window', () => {
  test('in any window at most the limit passes, compared with an exact log', () => {
    const steps = fc.array(fc.integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(steps, (delays) => {
        const windowMs = 60_000;
        const limit = 5;
        const window = new SlidingWindow(windowMs, START_MS);
        const log: number[] = [];
        let nowMs = START_MS;
        for (const delay of delays) {
          nowMs += delay;
          if (window.total(nowMs) >= limit) {
            // Strict by one slot at most: what an exact log of a window and a slot would let in is let in.
            expect(log.filter((time) => time > nowMs - windowMs - windowMs / 60).length).toBeGreaterThanOrEqual(limit);
            expect(window.fallsToAtMs(limit - 1, nowMs)).toBeGreaterThan(nowMs);
            continue;
          }
          window.add(1, nowMs);
          log.push(nowMs);
          expect(log.filter((time) => time > nowMs - windowMs).length).toBeLessThanOrEqual(limit);
        }
      }),
    );
  });

  test('after the promised time there is room', () => {
    const window = new SlidingWindow(60_000, START_MS);
    for (let n = 0; n < 5; n += 1) window.add(1, START_MS + n * 7_000);
    const atMs = window.fallsToAtMs(3, START_MS + 30_000);
    expect([window.total(atMs - 1), window.total(atMs)]).toEqual([4, 3]);
  });

  test('an amount can be corrected while it counts, and not after', () => {
    const window = new SlidingWindow(60_000, START_MS);
    const slot = window.add(100, START_MS);
    window.correct(slot, -60, START_MS + 30_000);
    expect(window.total(START_MS + 30_000)).toBe(40);
    window.correct(slot, -40, START_MS + 90_000);
    expect(window.total(START_MS + 90_000)).toBe(0);
  });

  test('a clock that jumps back opens nothing', () => {
    const window = new SlidingWindow(60_000, START_MS);
    window.add(5, START_MS);
    expect(window.total(START_MS - 3_600_000)).toBe(5);
  });
});

describe('token bucket', () => {
  test('holds its capacity, refills evenly, and keeps the time it promised', () => {
    const bucket = new TokenBucket(60, 60_000, START_MS);
    for (let n = 0; n < 60; n += 1) bucket.take(START_MS);
    expect([bucket.remaining(START_MS), bucket.waitMs(START_MS)]).toEqual([0, 1_000]);
    expect(bucket.remaining(START_MS + 1_000)).toBe(1);
    expect(bucket.remaining(START_MS + 3_600_000)).toBe(60);
    const day = new TokenBucket(1_000, 86_400_000, START_MS);
    for (let n = 0; n < 1_000; n += 1) day.take(START_MS);
    expect(day.fullAtMs(START_MS)).toBe(START_MS + 86_400_000);
    expect(day.remaining(START_MS + day.waitMs(START_MS))).toBe(1);
  });
});

describeLimiterContract('the limiter of one process', async (offer, clock) => ({
  limiters: [new RateLimiter(offer, clock)],
  settled: async () => undefined,
  close: async () => undefined,
}));

describe('headers', () => {
  const limits = {
    sliding_window: { requests_per_minute: 60, burst: 120 },
    tokens_per_minute: 150_000,
    token_bucket: { per_minute: 60, per_day: 1_000 },
  };
  const writtenBy = (headers: ('simple' | 'requests_tokens' | 'minute_day')[], known: typeof caller | null) => {
    const limiter = new RateLimiter({ limits: { ...limits, headers }, plans: {} }, new MovableClock());
    for (let n = 0; n < 2; n += 1) limiter.admit(caller);
    const list: string[] = [];
    createRateLimitHeaders(headers, limiter)(list, known);
    return Object.fromEntries(list.flatMap((name, index) => (index % 2 === 0 ? [[name, list[index + 1]]] : [])));
  };

  test('H8, A5, V3, U14: each family with the documented names and formats', () => {
    const resetSecond = START_MS / 1_000 + 60;
    expect(writtenBy(['simple'], caller)).toEqual({
      'X-RateLimit-Limit': '60',
      'X-RateLimit-Remaining': '58',
      'X-RateLimit-Reset': String(resetSecond),
    });
    expect(writtenBy(['requests_tokens'], caller)).toEqual({
      'x-ratelimit-limit-requests': '60',
      'x-ratelimit-remaining-requests': '58',
      'x-ratelimit-reset-requests': '2026-03-20T12:31:00Z',
      'x-ratelimit-limit-tokens': '150000',
      'x-ratelimit-remaining-tokens': '150000',
      'x-ratelimit-reset-tokens': '2026-03-20T12:30:00Z',
    });
    expect(writtenBy(['minute_day'], caller)).toEqual({
      'X-RateLimit-Limit-Minute': '60',
      'X-RateLimit-Remaining-Minute': '58',
      'X-RateLimit-Reset-Minute': String(START_MS / 1_000 + 2),
      'X-RateLimit-Limit-Day': '1000',
      'X-RateLimit-Remaining-Day': '998',
      'X-RateLimit-Reset-Day': String(Math.ceil(START_MS / 1_000 + 172.8)),
    });
  });

  test('who is not known has nothing left to use', () => {
    expect(writtenBy(['simple'], null)).toMatchObject({ 'X-RateLimit-Limit': '60', 'X-RateLimit-Remaining': '0' });
  });
});

describe('LruMap', () => {
  test('forgets the least recently used, but never what is in use', () => {
    const map = new LruMap<string, { used: boolean }>(2, (value) => !value.used);
    map.set('a', { used: true });
    map.set('b', { used: false });
    map.get('a');
    map.set('c', { used: false });
    expect([map.get('a') !== undefined, map.get('b'), map.size]).toEqual([true, undefined, 2]);
  });

  test('a limiter forgets no key that has a request under way', () => {
    const map = new LruMap<number, { used: boolean }>(3, (value) => !value.used);
    for (let n = 0; n < 10; n += 1) map.set(n, { used: true });
    expect(map.size).toBe(10);
  });
});
