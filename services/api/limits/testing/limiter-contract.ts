/**
 * What every limiter keeps, whether it counts in one process or for many. It is asked through several entrances in turn: those of a shared
 * limiter are its instances, and nothing may depend on which of them was asked.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { LimitedCaller, Limiter, LimitPass, LimitRefusal, LimitUsage, TokenReservation } from '../limiter.js';
import type { LimitsOffer } from '../plan-limits.js';
import { NaiveLimits } from './naive-limits.js';

export const START_MS = Date.parse('2026-03-20T12:30:00Z');

export class MovableClock {
  timeMs = START_MS;
  nowMs(): number {
    return this.timeMs;
  }
}

export type OpenLimiters = {
  readonly limiters: readonly Limiter[];
  /** Every entrance knows what the others do. */
  readonly settled: () => Promise<void>;
  readonly close: () => Promise<void>;
};
export type LimiterOpener = (offer: LimitsOffer, clock: MovableClock) => Promise<OpenLimiters>;

export const HUNT: LimitsOffer = {
  limits: { sliding_window: { requests_per_minute: 60, burst: 120 }, concurrent_requests: 10, headers: ['simple'] },
  plans: {},
};
const HIVEOPS: LimitsOffer = {
  limits: { sliding_window: { requests_per_minute: 60, burst: 60 }, tokens_per_minute: 1_000, headers: ['requests_tokens'] },
  plans: {},
};
const HURU: LimitsOffer = { limits: { token_bucket: { per_minute: 60, per_day: 1_000 }, headers: ['minute_day'] }, plans: {} };

let callers = 0;
/** Nobody has counted anything for them. */
export function newCaller(projectId?: string): LimitedCaller {
  callers += 1;
  return { keyId: `key_${callers}`, projectId: projectId ?? `prj_${callers}` };
}

/** Asks the entrances in turn. */
export class Entrance {
  readonly #limiters: readonly Limiter[];
  #turn = 0;

  constructor(limiters: readonly Limiter[]) {
    this.#limiters = limiters;
  }

  get #last(): Limiter {
    return this.#limiters[this.#turn % this.#limiters.length] as Limiter;
  }

  async admit(caller: LimitedCaller): Promise<LimitPass | LimitRefusal> {
    this.#turn += 1;
    return this.#last.admit(caller);
  }

  async reserveTokens(caller: LimitedCaller, tokensMax: number): Promise<TokenReservation | LimitRefusal> {
    this.#turn += 1;
    return this.#last.reserveTokens(caller, tokensMax);
  }

  /** As whoever was asked last tells it. */
  usageOf(caller: LimitedCaller): LimitUsage {
    return this.#last.usageOf(caller);
  }

  concurrentOf(keyId: string): number {
    return this.#limiters.reduce((sum, limiter) => sum + limiter.concurrentOf(keyId), 0);
  }

  /** Admits `count` requests and ends each; returns how many got in. */
  async admitted(caller: LimitedCaller, count: number): Promise<number> {
    let passes = 0;
    for (let n = 0; n < count; n += 1) {
      const pass = await this.admit(caller);
      if (pass.status === 'refused') continue;
      passes += 1;
      pass.release();
    }
    return passes;
  }
}

export function describeLimiterContract(name: string, open: LimiterOpener): void {
  describe(`${name} keeps the contract`, () => {
    describeRequestLimits(open);
    describeProjectLimits(open);
    describeTokenLimits(open);
    describePlans(open);
    describeAgainstModel(open);
  });
}

type Opened = { readonly clock: MovableClock; entrance: Entrance; settled: () => Promise<void> };

/** One set of limiters for a group of tests, each of which has callers of its own. */
function opened(offer: LimitsOffer, open: LimiterOpener) {
  const clock = new MovableClock();
  const at: Opened = { clock, entrance: new Entrance([]), settled: async () => undefined };
  let close: () => Promise<void> = async () => undefined;
  beforeAll(async () => {
    const limiters = await open(offer, clock);
    at.entrance = new Entrance(limiters.limiters);
    at.settled = limiters.settled;
    close = limiters.close;
  });
  afterAll(() => close());
  return at;
}

function describeRequestLimits(open: LimiterOpener): void {
  describe('of requests', () => {
    const at = opened(HUNT, open);

    test('H7: sixty a minute, a short burst of 120, never more on average', async () => {
      const caller = newCaller();
      expect(await at.entrance.admitted(caller, 200)).toBe(120);
      at.clock.timeMs += 60_000;
      expect(await at.entrance.admitted(caller, 20)).toBe(0);
      at.clock.timeMs += 62_000;
      expect(await at.entrance.admitted(caller, 60)).toBe(60);
    });

    test('H7: ten at the same time; a pass released twice counts once', async () => {
      const caller = newCaller();
      const passes = await Promise.all(Array.from({ length: 10 }, () => at.entrance.admit(caller)));
      expect(await at.entrance.admit(caller)).toMatchObject({ status: 'refused', refusal: 'concurrency_limited', retryAfterSeconds: 1 });
      expect(at.entrance.concurrentOf(caller.keyId)).toBe(10);
      const [first] = passes;
      if (first?.status !== 'admitted') throw new Error('refused');
      first.release();
      first.release();
      expect(at.entrance.concurrentOf(caller.keyId)).toBe(9);
      await at.settled();
      expect(await at.entrance.admit(caller)).toMatchObject({ status: 'admitted' });
    });

    test('who waits as long as Retry-After says gets in', async () => {
      const caller = newCaller();
      await at.entrance.admitted(caller, 120);
      const refusal = await at.entrance.admit(caller);
      if (refusal.status !== 'refused') throw new Error('admitted');
      at.clock.timeMs += refusal.retryAfterSeconds * 1_000;
      expect(await at.entrance.admitted(caller, 1)).toBe(1);
    });

    test('the figures follow what was counted', async () => {
      const caller = newCaller();
      await at.entrance.admitted(caller, 2);
      expect(at.entrance.usageOf(caller).requests).toEqual({ limit: 60, remaining: 58, resetMs: at.clock.timeMs + 60_000 });
    });
  });
}

function describeProjectLimits(open: LimiterOpener): void {
  describe('of projects', () => {
    const at = opened(HURU, open);

    test('U14: keys of one project share its bucket, projects share nothing', async () => {
      const first = newCaller();
      expect(await at.entrance.admitted(first, 40)).toBe(40);
      expect(await at.entrance.admitted(newCaller(first.projectId), 40)).toBe(20);
      expect(await at.entrance.admitted(newCaller(), 40)).toBe(40);
    });

    test('U14: a token comes back every second, and no later than promised', async () => {
      const caller = newCaller();
      await at.entrance.admitted(caller, 60);
      expect(await at.entrance.admit(caller)).toMatchObject({ status: 'refused', refusal: 'rate_limited', retryAfterSeconds: 1 });
      at.clock.timeMs += 3_000;
      expect(await at.entrance.admitted(caller, 5)).toBe(3);
      expect(at.entrance.usageOf(caller).project).toMatchObject({
        minute: { limit: 60, remaining: 0 },
        day: { limit: 1_000, remaining: 937 },
      });
    });

    test('U14: a thousand a day, however they are spread', async () => {
      const caller = newCaller();
      let admitted = 0;
      for (let minute = 0; minute < 20; minute += 1) {
        admitted += await at.entrance.admitted(caller, 61);
        at.clock.timeMs += 60_000;
      }
      // What the day's bucket gives back in twenty minutes: 13.8.
      expect(admitted).toBe(1_013);
      const refusal = await at.entrance.admit(caller);
      if (refusal.status !== 'refused') throw new Error('admitted');
      expect(refusal.retryAfterSeconds).toBeGreaterThan(1);
      at.clock.timeMs += refusal.retryAfterSeconds * 1_000;
      expect(await at.entrance.admitted(caller, 1)).toBe(1);
    });
  });

  describe('of projects and keys together', () => {
    const at = opened({ limits: { ...HUNT.limits, token_bucket: { per_minute: 5, per_day: 1_000 } }, plans: {} }, open);
    test('a request that one limit refuses uses up nothing of the others', async () => {
      const caller = newCaller();
      expect(await at.entrance.admitted(caller, 50)).toBe(5);
      expect(at.entrance.usageOf(caller)).toMatchObject({
        requests: { remaining: 55 },
        project: { minute: { remaining: 0 }, day: { remaining: 995 } },
      });
    });
  });
}

function describeTokenLimits(open: LimiterOpener): void {
  describe('of tokens', () => {
    const at = opened(HIVEOPS, open);

    test('V3: tokens are counted by their bound first and by the engine’s count after', async () => {
      const caller = newCaller();
      const first = await at.entrance.reserveTokens(caller, 900);
      if ('status' in first) throw new Error('refused');
      expect(await at.entrance.reserveTokens(caller, 200)).toMatchObject({
        status: 'refused',
        refusal: 'rate_limited',
        retryAfterSeconds: 61,
      });
      first.settle(100);
      first.settle(0);
      await at.settled();
      expect('status' in (await at.entrance.reserveTokens(caller, 900))).toBe(false);
      expect(await at.entrance.reserveTokens(caller, 1)).toMatchObject({ status: 'refused' });
      expect(at.entrance.usageOf(caller).tokens).toMatchObject({ limit: 1_000, remaining: 0 });
    });

    test('a bound above the whole limit still passes when nothing else is counted', async () => {
      const caller = newCaller();
      expect('status' in (await at.entrance.reserveTokens(caller, 50_000))).toBe(false);
      expect(await at.entrance.reserveTokens(caller, 1)).toMatchObject({ status: 'refused' });
    });

    test('a correction that comes when its minute is over changes nothing', async () => {
      const caller = newCaller();
      const late = await at.entrance.reserveTokens(caller, 900);
      if ('status' in late) throw new Error('refused');
      at.clock.timeMs += 62_000;
      expect('status' in (await at.entrance.reserveTokens(caller, 1_000))).toBe(false);
      late.settle(0);
      await at.settled();
      expect(await at.entrance.reserveTokens(caller, 1)).toMatchObject({ status: 'refused' });
    });
  });

  describe('without a limit of tokens', () => {
    const at = opened(HUNT, open);
    test('any bound passes', async () => {
      expect('status' in (await at.entrance.reserveTokens(newCaller(), 1_000_000))).toBe(false);
    });
  });
}

function describePlans(open: LimiterOpener): void {
  describe('of plans', () => {
    const production = { sliding_window: { requests_per_minute: 20, burst: 20 }, tokens_per_minute: 5_000 };
    const limits: LimitsOffer['limits'] = {
      sliding_window: { requests_per_minute: 5, burst: 5 },
      token_bucket: { per_minute: 30, per_day: 1_000 },
      headers: ['simple'],
    };
    const at = opened({ limits, plans: { production, bucketed: { token_bucket: { per_minute: 3, per_day: 1_000 } } } }, open);

    test('A5: a plan has its own limits, and those of everybody where it names none', async () => {
      const caller = { ...newCaller(), plan: 'production' };
      expect(await at.entrance.admitted(caller, 40)).toBe(20);
      expect(at.entrance.usageOf(caller)).toMatchObject({
        requests: { limit: 20, remaining: 0 },
        tokens: { limit: 5_000 },
        project: { minute: { limit: 30, remaining: 10 } },
      });
    });

    test('no plan, and one that the offer no longer has, is what everybody has', async () => {
      expect(await at.entrance.admitted(newCaller(), 40)).toBe(5);
      expect(await at.entrance.admitted({ ...newCaller(), plan: null }, 40)).toBe(5);
      expect(await at.entrance.admitted({ ...newCaller(), plan: 'of-last-year' }, 40)).toBe(5);
    });

    test('a change of plan holds from the next request, and what was counted goes on counting', async () => {
      const caller = newCaller();
      expect(await at.entrance.admitted(caller, 40)).toBe(5);
      expect(await at.entrance.admitted({ ...caller, plan: 'production' }, 40)).toBe(15);
      expect(await at.entrance.admitted(caller, 40)).toBe(0);
      expect(await at.entrance.admitted({ ...caller, plan: 'bucketed' }, 40)).toBe(0);
      at.clock.timeMs += 62_000;
      expect(await at.entrance.admitted({ ...caller, plan: 'bucketed' }, 40)).toBe(3);
    });
  });
}

/** Every quantity is a sum of halves, so that the model and SQL and JavaScript agree to the last bit. */
const MODELLED: LimitsOffer = {
  limits: {
    sliding_window: { requests_per_minute: 6, burst: 12 },
    concurrent_requests: 5,
    tokens_per_minute: 100,
    token_bucket: { per_minute: 7.5, per_day: 675 },
    headers: ['simple'],
  },
  plans: {},
};

const step = fc.oneof(
  { weight: 6, arbitrary: fc.constant({ kind: 'admit' as const }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('release' as const), place: fc.nat(20) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('reserve' as const), tokens: fc.integer({ min: 1, max: 150 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('settle' as const), place: fc.nat(20), tokens: fc.nat(60) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait' as const), halfSeconds: fc.integer({ min: 1, max: 90 }) }) },
);

function describeAgainstModel(open: LimiterOpener): void {
  describe('compared with a log of everything', () => {
    const at = opened(MODELLED, open);
    test('whatever happens in whatever order, the same is let in', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 80 }), async (steps) => {
          const caller = newCaller();
          const model = new NaiveLimits(MODELLED.limits, at.clock);
          const passes: LimitPass[] = [];
          const reservations: TokenReservation[] = [];
          for (const one of steps) {
            if (one.kind === 'wait') at.clock.timeMs += one.halfSeconds * 500;
            if (one.kind === 'release') {
              for (const pass of passes.splice(one.place % Math.max(1, passes.length), 1)) pass.release();
              await at.settled();
            }
            if (one.kind === 'settle') {
              const place = one.place % Math.max(1, reservations.length);
              for (const reservation of reservations.splice(place, 1)) reservation.settle(one.tokens);
              model.settle(place, one.tokens);
              await at.settled();
            }
            if (one.kind === 'admit') {
              const answer = await at.entrance.admit(caller);
              const isAdmitted = answer.status === 'admitted';
              expect(isAdmitted).toBe(model.admit(passes.length));
              if (isAdmitted) passes.push(answer);
            }
            if (one.kind === 'reserve') {
              const answer = await at.entrance.reserveTokens(caller, one.tokens);
              expect('status' in answer).toBe(!model.reserve(one.tokens));
              if (!('status' in answer)) reservations.push(answer);
            }
          }
          for (const pass of passes) pass.release();
          expect(at.entrance.concurrentOf(caller.keyId)).toBe(0);
        }),
        { numRuns: 40 },
      );
    });
  });
}
