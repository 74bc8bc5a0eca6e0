/**
 * The limits of all API instances together, counted in Postgres by its clock. Whatever waits in an instance goes out as one statement, one at
 * a time: the more callers, the larger the batch, and the cost of a request falls with the load.
 *
 *     asks gather ──▶ a batch is counted ──▶ each asker is told; what came meanwhile is the next batch
 *                          │ no answer
 *                          ▼
 *                     askers get 503 ──next batch──▶ what must not be lost goes out under the same number: it counts once
 *
 * Counts that nobody waits for (requests that ended, tokens that were not needed) go along. Answers bring the counts with them, and a copy is
 * kept here for the headers.
 */
import type { Pool } from 'pg';
import type { Scheduler } from '../../../platform/scheduler.js';
import { within } from '../../../platform/within.js';
import { refuse } from '../refusals.js';
import { countedTokens, rateLimited, refusalOfAdmission, refusalOfTokens } from './counts.js';
import { CountsByCaller } from './counts-by-caller.js';
import { type BatchAnswer, type Correction, type CountedKey, countBatch, type KeyBatch } from './limit-batch.js';
import {
  type LimitedCaller,
  type Limiter,
  type LimitPass,
  type LimitRefusal,
  type LimitUsage,
  type TokenReservation,
  UNLIMITED_TOKENS,
} from './limiter.js';
import type { Limits, LimitsOffer } from './plan-limits.js';
import { sweepLimits } from './sweep-limits.js';

/** An instance that is silent for longer is taken for dead, and what it had under way is free again. */
export const INSTANCE_LEASE_MS = 10_000;
/** An instance with requests under way says so this often within its lease, so that one or two may get lost. */
const BEATS_PER_LEASE = 4;
/** What nobody needs any more is looked for this often, by each instance. */
const BEATS_PER_SWEEP = 120;
/** Requests that wait to be counted; more are refused. Counting takes a millisecond or so, so they wait well under a second. */
export const ASKS_WAITING_MAX = 8_192;
/** Keys of one statement. */
const BATCH_KEYS_MAX = 256;
/** A database that does not answer in this time counts as down. Who asks waits for two statements at most, of which one may be another's. */
export const COUNTING_MS_MAX = 2_000;
/** What nobody waits for may gather for this long. */
const GATHERING_MS = 5;

export type PostgresLimiterOptions = {
  /** Best one of its own: a batch waits for a connection like anybody. */
  readonly pool: Pool;
  readonly offer: LimitsOffer;
  /** Unique among the instances that ever lived. */
  readonly instanceId: string;
  readonly scheduler: Scheduler;
  readonly onTrouble: (message: string, error: unknown) => void;
  /** `INSTANCE_LEASE_MS` by default. */
  readonly leaseMs?: number;
  /** Instead of the database's clock, for tests. */
  readonly nowMs?: () => number;
};

type Asker<Answer> = { readonly resolve: (answer: Answer) => void; readonly reject: (error: unknown) => void };
type TokenAsker = Asker<TokenReservation | LimitRefusal> & { readonly counted: number; readonly tokensMax: number };

/** What waits to be counted of one key. */
type KeyWork = {
  readonly caller: LimitedCaller;
  readonly requests: Asker<LimitPass | LimitRefusal>[];
  readonly tokens: TokenAsker[];
  readonly corrections: Correction[];
};
/** A batch of which is not known whether it was counted. */
type UnknownBatch = { readonly number: number; readonly works: readonly KeyWork[] };

export class PostgresLimiter implements Limiter {
  readonly #options: PostgresLimiterOptions;
  readonly #leaseMs: number;
  /** Copies, for headers and refusals; the database has the counts. */
  readonly #counts: CountsByCaller;
  /** In the order in which they came. */
  #waiting = new Map<string, KeyWork>();
  #asksWaiting = 0;
  readonly #underWay = new Map<string, { count: number; readonly caller: LimitedCaller }>();
  /** Unix milliseconds by the database's clock at the origin of this process's monotonic one. */
  #originMs = performance.timeOrigin;
  #number = 1;
  #unknown: UnknownBatch | null = null;
  #counting: Promise<void> | null = null;
  #isGathering = false;
  #isBeatDue = false;
  #beats = 0;
  #callOffBeat: () => void = () => undefined;
  #isStopped = false;

  constructor(options: PostgresLimiterOptions) {
    this.#options = options;
    this.#leaseMs = options.leaseMs ?? INSTANCE_LEASE_MS;
    this.#counts = new CountsByCaller(options.offer);
    this.#beat();
  }

  admit(caller: LimitedCaller): Promise<LimitPass | LimitRefusal> {
    return this.#ask((asker) => this.#workOf(caller).requests.push(asker));
  }

  reserveTokens(caller: LimitedCaller, tokensMax: number): TokenReservation | Promise<TokenReservation | LimitRefusal> {
    const limit = this.#counts.limitsOf(caller).tokens_per_minute;
    if (limit === undefined) return UNLIMITED_TOKENS;
    const counted = countedTokens(limit, tokensMax);
    return this.#ask((asker) => this.#workOf(caller).tokens.push({ ...asker, counted, tokensMax }));
  }

  usageOf(caller: LimitedCaller | null): LimitUsage {
    return this.#counts.usageOf(caller, this.#nowMs());
  }

  concurrentOf(keyId: string): number {
    return this.#underWay.get(keyId)?.count ?? 0;
  }

  /** Resolves when everything that nobody waits for has been said too, or could not be. */
  async settled(): Promise<void> {
    this.#wake();
    await this.#counting;
  }

  /** Says what is left to say, and that nothing of this instance is under way any more. */
  async stop(): Promise<void> {
    await this.settled();
    this.#isStopped = true;
    this.#callOffBeat();
    const { pool, instanceId, onTrouble } = this.#options;
    await pool
      .query('delete from api.limited_instances where instance_id = $1', [instanceId])
      .catch((error: unknown) => onTrouble('requests under way stay counted until the lease ends', error));
  }

  #ask<Answer>(enqueue: (asker: Asker<Answer>) => void): Promise<Answer> {
    if (this.#isStopped) return Promise.reject(refuse('shutting_down'));
    if (this.#asksWaiting >= ASKS_WAITING_MAX) return Promise.reject(refuse('engine_at_capacity'));
    this.#asksWaiting += 1;
    const answer = new Promise<Answer>((resolve, reject) => enqueue({ resolve, reject }));
    this.#wake();
    return answer;
  }

  #workOf(caller: LimitedCaller): KeyWork {
    const known = this.#waiting.get(caller.keyId);
    if (known !== undefined) return known;
    const work: KeyWork = { caller, requests: [], tokens: [], corrections: [] };
    this.#waiting.set(caller.keyId, work);
    return work;
  }

  /** Counts in the next turn, with whatever this one still brings. */
  #wake(): void {
    if (this.#counting !== null || this.#isStopped) return;
    this.#counting = new Promise<void>((resolve) => this.#options.scheduler.defer(resolve)).then(() => this.#countAll());
  }

  #wakeSoon(): void {
    if (this.#isGathering || this.#counting !== null) return;
    this.#isGathering = true;
    this.#options.scheduler.delay(() => {
      this.#isGathering = false;
      this.#wake();
    }, GATHERING_MS);
  }

  /** After a failure only those who wait are a reason to go on at once; the rest waits for the next beat. */
  async #countAll(): Promise<void> {
    let isCounted = true;
    while ((isCounted && (this.#waiting.size > 0 || this.#isBeatDue)) || this.#asksWaiting > 0) isCounted = await this.#countNext();
    this.#counting = null;
  }

  /** Whether it was counted. */
  async #countNext(): Promise<boolean> {
    const works = this.#takeWaiting();
    this.#isBeatDue = false;
    try {
      await this.#countUnknown();
    } catch (error) {
      // These were not sent, so they can simply go with a later batch.
      for (const { caller, corrections } of works) this.#workOf(caller).corrections.push(...corrections);
      this.#refuseAll(works, error);
      return false;
    }
    const number = this.#number;
    try {
      const answer = await this.#count(number, works);
      if (answer.status === 'overtaken') throw new Error(`batch ${number} was counted before it was made`);
      this.#number += 1;
      this.#tell(works, answer);
      return true;
    } catch (error) {
      this.#unknown = { number, works: works.map(withoutAskers) };
      this.#refuseAll(works, error);
      return false;
    }
  }

  #takeWaiting(): KeyWork[] {
    const works: KeyWork[] = [];
    for (const [keyId, work] of this.#waiting) {
      if (works.length === BATCH_KEYS_MAX) break;
      works.push(work);
      this.#waiting.delete(keyId);
      this.#asksWaiting -= work.requests.length + work.tokens.length;
    }
    return works;
  }

  async #count(number: number, works: readonly KeyWork[]) {
    const { pool, instanceId, nowMs } = this.#options;
    const batches = works.map((work): KeyBatch => {
      const { caller, corrections } = work;
      const underWay = this.concurrentOf(caller.keyId);
      const tokens = work.tokens.map(({ counted }) => counted);
      return { caller, limits: this.#counts.limitsOf(caller), requests: work.requests.length, underWay, tokens, corrections };
    });
    return within(COUNTING_MS_MAX, countBatch({ pool, instanceId, number, leaseMs: this.#leaseMs, nowMs: nowMs?.() ?? null }, batches));
  }

  /** What must not be lost of a batch without an answer, under its number: whichever of the two arrives second counts nothing. */
  async #countUnknown(): Promise<void> {
    if (this.#unknown === null) return;
    const { number, works } = this.#unknown;
    const answer = await this.#count(number, works);
    this.#unknown = null;
    this.#number = number + 1;
    // The first had let requests in that were told otherwise; how many are really under way is said in the next batch.
    if (answer.status === 'overtaken') for (const { caller } of works) this.#workOf(caller);
  }

  /** Nothing runs uncounted: whoever cannot be counted is turned away. */
  #refuseAll(works: readonly KeyWork[], error: unknown): void {
    const refusal = refuse('provider_unavailable', { message: 'The service is temporarily unavailable.', cause: error });
    // Who came meanwhile has waited for the same database.
    for (const work of [...works, ...this.#waiting.values()]) {
      for (const asker of [...work.requests.splice(0), ...work.tokens.splice(0)]) asker.reject(refusal);
    }
    this.#asksWaiting = 0;
    this.#options.onTrouble('limits could not be counted', error);
  }

  #tell(works: readonly KeyWork[], answer: BatchAnswer): void {
    this.#originMs = answer.nowMs - performance.now();
    const byKey = new Map(works.map((work) => [work.caller.keyId, work]));
    for (const counted of answer.keys) {
      const work = byKey.get(counted.batch.caller.keyId);
      if (work !== undefined) this.#tellKey(work, counted, answer.nowMs);
    }
    if (!answer.lapsed) return;
    for (const { caller } of this.#underWay.values()) if (!byKey.has(caller.keyId)) this.#workOf(caller);
  }

  #tellKey(work: KeyWork, counted: CountedKey, nowMs: number): void {
    const { caller, limits } = counted.batch;
    const { admitted, elsewhere, taken, tokens_head } = counted.key;
    const { counts, projectCounts } = this.#load(limits, counted, nowMs);
    if (admitted > 0) this.#begin(caller, admitted);
    for (const asker of work.requests.slice(0, admitted)) asker.resolve(this.#pass(caller, limits));
    counts.concurrent = this.concurrentOf(caller.keyId) + elsewhere;
    for (const asker of work.requests.slice(admitted)) {
      // A bucket that is full to within rounding is refused there and not here: then the wait is the shortest.
      asker.resolve(refusalOfAdmission(limits, counts, projectCounts, nowMs) ?? rateLimited('Rate limit exceeded.', 0));
    }
    // Known for this answer only; the copy must not keep it.
    counts.concurrent = 0;
    work.tokens.forEach((asker, index) => {
      if (counts.tokens === null || limits.tokens_per_minute === undefined) asker.resolve(UNLIMITED_TOKENS);
      else if (taken[index] === true) asker.resolve(this.#reservation(caller, tokens_head, asker.counted));
      else asker.resolve(refusalOfTokens(limits.tokens_per_minute, counts.tokens, asker.tokensMax, nowMs));
    });
  }

  #begin(caller: LimitedCaller, count: number): void {
    const known = this.#underWay.get(caller.keyId);
    if (known === undefined) this.#underWay.set(caller.keyId, { count, caller });
    else known.count += count;
  }

  #pass(caller: LimitedCaller, limits: Limits): LimitPass {
    let released = false;
    return {
      status: 'admitted',
      release: () => {
        if (released) return;
        released = true;
        const underWay = this.#underWay.get(caller.keyId);
        if (underWay === undefined) return;
        underWay.count -= 1;
        if (underWay.count === 0) this.#underWay.delete(caller.keyId);
        if (limits.concurrent_requests === undefined) return;
        this.#workOf(caller);
        this.#wakeSoon();
      },
    };
  }

  #reservation(caller: LimitedCaller, slot: number, counted: number): TokenReservation {
    let settled = false;
    return {
      settle: (tokens) => {
        if (settled) return;
        settled = true;
        const difference = tokens - counted;
        if (difference === 0) return;
        this.#counts.knownKey(caller.keyId)?.tokens?.correct(slot, difference, this.#nowMs());
        this.#workOf(caller).corrections.push([slot, difference]);
        this.#wakeSoon();
      },
    };
  }

  /** Takes over what the database has counted. */
  #load(limits: Limits, { batch, key, project }: CountedKey, nowMs: number) {
    const { keyId, projectId } = batch.caller;
    const counts = this.#counts.key(keyId, limits, nowMs);
    counts.requests?.load(key.requests, key.requests_head);
    counts.tokens?.load(key.tokens, key.tokens_head);
    // What was settled while the batch was out is not in its answer yet.
    for (const [slot, difference] of this.#waiting.get(keyId)?.corrections ?? []) counts.tokens?.correct(slot, difference, nowMs);
    const projectCounts = this.#counts.project(projectId, limits, nowMs);
    if (project.minute_used !== null) projectCounts?.load(project.minute_used, project.day_used ?? 0, project.refilled_at_ms ?? nowMs);
    return { counts, projectCounts };
  }

  #beat(): void {
    this.#callOffBeat = this.#options.scheduler.delay(() => {
      if (this.#isStopped) return;
      this.#isBeatDue = this.#underWay.size > 0 || this.#unknown !== null;
      if (this.#isBeatDue || this.#waiting.size > 0) this.#wake();
      this.#beats += 1;
      if (this.#beats % BEATS_PER_SWEEP === 0) this.#sweep();
      this.#beat();
    }, this.#leaseMs / BEATS_PER_LEASE);
  }

  #sweep(): void {
    sweepLimits(this.#options.pool).catch((error: unknown) => this.#options.onTrouble('limits could not be swept', error));
  }

  #nowMs(): number {
    return this.#options.nowMs?.() ?? this.#originMs + performance.now();
  }
}

function withoutAskers({ caller, corrections }: KeyWork): KeyWork {
  return { caller, requests: [], tokens: [], corrections };
}
