/**
 * The inference workers as this API instance hears of them: who is there, what each serves, and who has fallen silent. Times are those of
 * hearing, so that clocks need not agree.
 */
import type { BusSubscription, MessageBus } from '../../../events/bus/message-bus.js';
import {
  type Environment,
  WORKER_LOST_AFTER_MS,
  WORKERS_TOPIC,
  type WorkerSeen,
  WorkerSeenSchema,
} from '../../../events/contract/index.js';
import type { Clock } from '../../../platform/clock.js';

/** Workers remembered; more than any fleet, and a bound on what a flood of ids can take. */
const WORKERS_MAX = 10_000;

export type WorkerWatchOptions = {
  readonly bus: MessageBus;
  readonly clock: Clock;
  readonly instanceId: string;
  readonly onLost: (workerId: string) => void;
  readonly onError: (error: unknown) => void;
};

export type ServedContext = { readonly contextTokensMax: number; readonly systemFingerprint: string };

type Served = { readonly readyWorkers: number; readonly live: ReadonlyMap<string, ServedContext>; readonly test: ServedContext | null };

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

  /** What would run the model: the smallest context of those that serve it, and what one of them says it is. `null`: nobody serves it. */
  contextOf(model: string, environment: Environment): ServedContext | null {
    const { live, test } = this.#whatIsServed();
    return environment === 'test' ? test : (live.get(model) ?? null);
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
    this.#served ??= servedBy([...this.#workers.values()].flatMap(({ seen }) => (seen?.status === 'ready' ? [seen] : [])));
    return this.#served;
  }
}

function servedBy(ready: readonly WorkerSeen[]): Served {
  const live = new Map<string, ServedContext>();
  for (const { models } of ready) for (const served of models) live.set(served.model, narrower(live.get(served.model), served));
  let test: ServedContext | null = null;
  for (const { testEngine } of ready) test = narrower(test ?? undefined, testEngine);
  return { readyWorkers: ready.length, live, test };
}

/** A prompt must fit whichever worker gets it; the first one says what it runs on. */
function narrower(known: ServedContext | undefined, { contextTokens, systemFingerprint }: WorkerSeen['testEngine']): ServedContext {
  if (known === undefined) return { contextTokensMax: contextTokens, systemFingerprint };
  return { ...known, contextTokensMax: Math.min(known.contextTokensMax, contextTokens) };
}

function isSameOffer(before: WorkerSeen | null | undefined, after: WorkerSeen): boolean {
  if (before === undefined || before === null || before.status !== after.status) return false;
  return JSON.stringify([before.models, before.testEngine]) === JSON.stringify([after.models, after.testEngine]);
}
