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

export class WorkerWatch {
  readonly #options: WorkerWatchOptions;
  readonly #workers = new Map<string, { seen: WorkerSeen; heardAtMs: number }>();
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
      this.#options.onLost(workerId);
    }
  }

  get readyWorkers(): number {
    return this.#ready().length;
  }

  /** What would run the model: the smallest context of those that serve it, and what one of them says it is. `null`: nobody serves it. */
  contextOf(model: string, environment: Environment): { readonly contextTokensMax: number; readonly systemFingerprint: string } | null {
    const ready = this.#ready();
    const serving = ready.flatMap(({ models, testEngine }) =>
      environment === 'test' ? [testEngine] : models.filter((served) => served.model === model),
    );
    const [first] = serving;
    if (first === undefined) return null;
    return {
      contextTokensMax: Math.min(...serving.map(({ contextTokens }) => contextTokens)),
      systemFingerprint: first.systemFingerprint,
    };
  }

  #hear(value: unknown): void {
    const parsed = WorkerSeenSchema.safeParse(value);
    if (!parsed.success) {
      this.#options.onError(parsed.error);
      return;
    }
    const seen = parsed.data;
    if (!this.#workers.has(seen.workerId) && this.#workers.size >= WORKERS_MAX) return;
    this.#workers.set(seen.workerId, { seen, heardAtMs: this.#options.clock.nowMs() });
  }

  #ready(): WorkerSeen[] {
    return [...this.#workers.values()].map(({ seen }) => seen).filter(({ status }) => status === 'ready');
  }
}
