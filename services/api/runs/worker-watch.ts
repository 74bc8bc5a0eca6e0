/**
 * The inference workers as this API instance hears of them: who is there, what each serves, and who has fallen silent. Times are those of
 * hearing, so that clocks need not agree.
 */
import type { BusSubscription, MessageBus } from '../../../events/bus/message-bus.js';
import {
  DEFAULT_POOL,
  type Environment,
  WORKER_LOST_AFTER_MS,
  WORKERS_TOPIC,
  type WorkerSeen,
  WorkerSeenSchema,
} from '../../../events/contract/index.js';
import type { Clock } from '../../../platform/clock.js';
import type { EngineWanted } from '../routing/engine-context.js';

/** Workers remembered; more than any fleet, and a bound on what a flood of ids can take. */
const WORKERS_MAX = 10_000;

export type WorkerWatchOptions = {
  readonly bus: MessageBus;
  readonly clock: Clock;
  readonly instanceId: string;
  readonly onLost: (workerId: string) => void;
  readonly onError: (error: unknown) => void;
};

export type ServedContext = { readonly pool: string; readonly contextTokensMax: number; readonly systemFingerprint: string };

/** What one pool's ready workers serve: to live keys by model and variant, see `liveKey`, and to test keys. */
type PoolServed = { readonly live: Map<string, ServedContext>; test: ServedContext | null };
/** `pools` has the default one first, then the others by name: the order in which a run without a wish is placed. */
type Served = {
  readonly readyWorkers: number;
  readonly pools: ReadonlyMap<string, PoolServed>;
  /** Pools with a worker that takes work, or will when it has loaded. */
  readonly peopled: ReadonlySet<string>;
};

const ANYWHERE: EngineWanted = { quantization: null, pools: null };

export class WorkerWatch {
  readonly #options: WorkerWatchOptions;
  /** `seen` is null while a worker has only been met in a run, and has not said what it serves. */
  readonly #workers = new Map<string, { seen: WorkerSeen | null; heardAtMs: number }>();
  /** What is served, made when it is asked for and dropped when a worker changes: requests ask, and a fleet speaks, thousands of times a second. */
  #served: Served | null = null;
  #subscription: BusSubscription | null = null;

  constructor(options: WorkerWatchOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { bus, instanceId, onError } = this.#options;
    this.#subscription = await bus.subscribe({
      topic: WORKERS_TOPIC,
      group: instanceId,
      onMessages: (messages) => {
        for (const { value } of messages) this.#hear(value);
      },
      onError,
    });
  }

  async stop(): Promise<void> {
    await this.#subscription?.stop();
    this.#subscription = null;
  }

  /** Forgets workers that have been silent for too long, and tells of each. Called now and then. */
  onTick(nowMs: number): void {
    for (const [workerId, { heardAtMs }] of this.#workers) {
      if (nowMs - heardAtMs < WORKER_LOST_AFTER_MS) continue;
      this.#workers.delete(workerId);
      this.#served = null;
      this.#options.onLost(workerId);
    }
  }

  get readyWorkers(): number {
    return this.#whatIsServed().readyWorkers;
  }

  /** Whether the pool has a worker that takes work, or will when it has loaded. */
  hasWorkers(pool: string): boolean {
    return this.#whatIsServed().peopled.has(pool);
  }

  /**
   * What would run the model, in the first of the wanted pools that can: the smallest context of those that serve it there, and what one of them
   * says it is. `null`: nobody serves it there.
   */
  contextOf(model: string, environment: Environment, { quantization, pools }: EngineWanted = ANYWHERE): ServedContext | null {
    const served = this.#whatIsServed();
    for (const pool of pools ?? served.pools.keys()) {
      const there = served.pools.get(pool);
      if (there === undefined) continue;
      const found =
        environment === 'test' ? there.test : (there.live.get(liveKey(model, quantization)) ?? there.live.get(liveKey(model, null)));
      if (found !== null && found !== undefined) return found;
    }
    return null;
  }

  /** A run was taken by this worker. It may have died before this instance heard of it, and is missed from now on like any other. */
  met(workerId: string): void {
    if (this.#workers.has(workerId) || this.#workers.size >= WORKERS_MAX) return;
    this.#workers.set(workerId, { seen: null, heardAtMs: this.#options.clock.nowMs() });
  }

  #hear(value: unknown): void {
    const parsed = WorkerSeenSchema.safeParse(value);
    if (!parsed.success) {
      this.#options.onError(parsed.error);
      return;
    }
    const seen = parsed.data;
    if (!this.#workers.has(seen.workerId) && this.#workers.size >= WORKERS_MAX) return;
    if (!isSameOffer(this.#workers.get(seen.workerId)?.seen, seen)) this.#served = null;
    this.#workers.set(seen.workerId, { seen, heardAtMs: this.#options.clock.nowMs() });
  }

  #whatIsServed(): Served {
    this.#served ??= servedBy([...this.#workers.values()].flatMap(({ seen }) => (seen === null ? [] : [seen])));
    return this.#served;
  }
}

function servedBy(all: readonly WorkerSeen[]): Served {
  const ready = all.filter(({ status }) => status === 'ready');
  const peopled = new Set(all.filter(({ status }) => status !== 'leaving').map(({ pool }) => pool));
  const pools = new Map<string, PoolServed>();
  for (const { pool } of [...ready].sort(byPool)) if (!pools.has(pool)) pools.set(pool, { live: new Map(), test: null });
  for (const { pool, models, testEngine } of ready) {
    const there = pools.get(pool);
    if (there === undefined) continue;
    for (const served of models) {
      const key = liveKey(served.model, served.quantization ?? null);
      there.live.set(key, narrower(there.live.get(key), pool, served));
    }
    there.test = narrower(there.test ?? undefined, pool, testEngine);
  }
  return { readyWorkers: ready.length, pools, peopled };
}

function byPool(one: WorkerSeen, other: WorkerSeen): number {
  const rank = ({ pool }: WorkerSeen) => (pool === DEFAULT_POOL ? '' : pool);
  return rank(one) < rank(other) ? -1 : rank(one) > rank(other) ? 1 : 0;
}

/** A worker that names no variant has one thing for all of them. */
function liveKey(model: string, quantization: string | null): string {
  return `${model}\n${quantization ?? ''}`;
}

/** A prompt must fit whichever worker gets it; the first one says what it runs on. */
function narrower(known: ServedContext | undefined, pool: string, engine: WorkerSeen['testEngine']): ServedContext {
  const { contextTokens, systemFingerprint } = engine;
  if (known === undefined) return { pool, contextTokensMax: contextTokens, systemFingerprint };
  return { ...known, contextTokensMax: Math.min(known.contextTokensMax, contextTokens) };
}

function isSameOffer(before: WorkerSeen | null | undefined, after: WorkerSeen): boolean {
  if (before === undefined || before === null || before.status !== after.status) return false;
  return JSON.stringify([before.pool, before.models, before.testEngine]) === JSON.stringify([after.pool, after.models, after.testEngine]);
}
