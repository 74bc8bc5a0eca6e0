/**
 * Everything this API instance waits for: one subscription of its reply topic, handed out by run id to the runs under way, and one coarse
 * tick that ends those which have waited too long.
 */

import type { BusSubscription, Message, MessageBus } from '../../../events/bus/message-bus.js';
import {
  type RunAttemptFailed,
  type RunOutput,
  type RunSettled,
  type RunStarted,
  repliesTopic,
  workerOfExecution,
} from '../../../events/contract/index.js';
import type { Clock } from '../../../platform/clock.js';
import type { Scheduler } from '../../../platform/scheduler.js';
import type { RunInFlight } from './run-in-flight.js';

/** Runs one instance waits for at the same time; beyond it the server is at capacity. */
export const RUNS_IN_FLIGHT_MAX = 10_000;
/** Waits are seconds to minutes; a quarter of a second late is early enough, and one timer serves all runs. */
const TICK_MS = 250;

type RunMessage = RunOutput | RunAttemptFailed | RunSettled | RunStarted;

export type RepliesOptions = {
  readonly bus: MessageBus;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly instanceId: string;
  readonly onError: (error: unknown) => void;
  /** A worker has taken a run that is waited for here. */
  readonly onWorkerMet?: (workerId: string) => void;
  /** Whether anybody in the pool takes work, or soon will; taken for granted where this is left out. */
  readonly hasWorkers?: (pool: string) => boolean;
};

export class Replies {
  readonly topic: string;
  readonly #options: RepliesOptions;
  readonly #runs = new Map<string, RunInFlight>();
  readonly #tickers = new Set<(nowMs: number) => void>();
  #subscription: BusSubscription | null = null;
  #stopTicking: (() => void) | null = null;

  constructor(options: RepliesOptions) {
    this.#options = options;
    this.topic = repliesTopic(options.instanceId);
  }

  get runsInFlight(): number {
    return this.#runs.size;
  }

  get isFull(): boolean {
    return this.#runs.size >= RUNS_IN_FLIGHT_MAX;
  }

  async start(): Promise<void> {
    this.#subscription = await this.#options.bus.subscribe({
      topic: this.topic,
      group: this.#options.instanceId,
      onMessages: (messages) => this.deliver(messages),
      onError: this.#options.onError,
    });
    this.#scheduleTick();
  }

  async stop(): Promise<void> {
    this.#stopTicking?.();
    this.#stopTicking = null;
    await this.#subscription?.stop();
    this.#subscription = null;
  }

  /** From here on the run hears what is said about it, until it has ended. Register before publishing. */
  register(run: RunInFlight): void {
    this.#runs.set(run.runId, run);
  }

  /** Calls back at every tick until the returned function is called. */
  onTick(callback: (nowMs: number) => void): () => void {
    this.#tickers.add(callback);
    return () => this.#tickers.delete(callback);
  }

  /** Hands messages to their runs. Messages of runs that nobody waits for any more are passed over. */
  deliver(messages: readonly Message[]): void {
    for (const message of messages) {
      // Publishers build these values from the contract's types; the cast stands in for a validation of every delta.
      const value = message.value as RunMessage;
      const run = this.#runs.get(value.runId);
      if (run === undefined) continue;
      try {
        this.#hand(run, message.type, value);
      } catch (error) {
        // One run's fault must not make the bus deliver everyone's batch again.
        this.#options.onError(error);
      }
      if (run.hasEnded) this.#runs.delete(value.runId);
    }
  }

  #hand(run: RunInFlight, type: string, value: RunMessage): void {
    if (type === 'RunOutput') run.onOutput(value as RunOutput);
    else if (type === 'RunSettled') run.onSettled(value as RunSettled, this.#options.clock.nowMs());
    else if (type === 'RunAttemptFailed') run.onAttemptFailed(value as RunAttemptFailed);
    else if (type === 'RunStarted') {
      const started = value as RunStarted;
      run.onStarted(started);
      this.#options.onWorkerMet?.(workerOfExecution(started.execution));
    }
  }

  /** Runs that the worker had are tried elsewhere or given up. */
  workerLost(workerId: string): void {
    for (const [runId, run] of this.#runs) {
      run.onWorkerLost(workerId);
      if (run.hasEnded) this.#runs.delete(runId);
    }
  }

  /** Ends runs that have waited too long; public so that a simulated clock can drive it. */
  tick(nowMs: number): void {
    for (const [runId, run] of this.#runs) {
      run.onTick(nowMs, this.#options.hasWorkers?.(run.pool));
      if (run.hasEnded) this.#runs.delete(runId);
    }
    for (const ticker of this.#tickers) ticker(nowMs);
  }

  #scheduleTick(): void {
    this.#stopTicking = this.#options.scheduler.delay(() => {
      this.tick(this.#options.clock.nowMs());
      if (this.#stopTicking !== null) this.#scheduleTick();
    }, TICK_MS);
  }
}
