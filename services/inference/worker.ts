/**
 * The worker loop: takes runs from a pool's topic, gives them to an engine, reports text and results. It knows nothing of money; the output
 * budget in the job is all that keeps a run within its hold, and the engine keeps to it.
 *
 *     RunRequested ──▶ engine.run ──text──▶ RunOutput            (replies of the API that asked)
 *                          ├─ result ─────▶ RunFinished          (run results, settled by the ledger)
 *                          └─ failure ────▶ RunAttemptFailed     (replies; the API decides whether to try again)
 *     RunCancelRequested ─▶ abort ────────▶ RunFinished{cancelled}
 */
import type { Logger } from 'pino';
import { type BusSubscription, type Message, type MessageBus, UnknownTopicError } from '../../events/bus/message-bus.js';
import {
  COUNTED_LOCALLY,
  executionOf,
  type JsonObject,
  NO_USAGE,
  RUN_RESULTS_TOPIC,
  RunCancelRequestedSchema,
  type RunErrorCode,
  type RunFinished,
  type RunRequested,
  RunRequestedSchema,
  runControlTopic,
  runRequestsTopic,
} from '../../events/contract/index.js';
import type { Clock } from '../../platform/clock.js';
import type { Scheduler } from '../../platform/scheduler.js';
import { CANCELLED_BEFORE_START, type Engine, EngineError, type EngineResult } from './engine.js';
import { Outbox } from './outbox.js';
import { RecentRuns } from './recent-runs.js';
import type { WorkerMetrics } from './worker-metrics.js';

/** Runs in one worker's hands, running or waiting for their engine. Engines have tighter bounds of their own. */
export const RUNS_MAX = 4_096;

/** An engine has this long to let go of what was aborted when the worker stops; then it is closed with the process. */
const ABORT_MS_MAX = 2_000;

/** How often deadlines are looked at. They are minutes away, and the API waits a little longer. */
const DEADLINE_SWEEP_MS = 250;

export type WorkerOptions = {
  readonly bus: MessageBus;
  readonly pool: string;
  /** Unique among all workers that ever were: it names executions, and each worker reads all cancellations. */
  readonly workerId: string;
  /** The engine for a run, or `null` for a model that this worker does not serve. */
  readonly engineFor: (request: RunRequested) => Engine | null;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly logger: Logger;
  readonly metrics: WorkerMetrics;
  /** Whether the API is told who has taken its run. A worker in the API's own process cannot be lost without it. */
  readonly tellsStarts?: boolean;
};

export type Worker = {
  readonly runsInFlight: number;
  /** Takes no further run, lets those under way end for `drainMs`, then fails what is left as retryable. */
  stop(drainMs: number): Promise<void>;
};

/** `superseded`: a newer attempt of the same run has come, so nobody waits for this one. */
type AbortReason = 'cancel' | 'deadline' | 'stopping' | 'superseded';

type Execution = { readonly request: RunRequested; readonly execution: string };

type RunUnderWay = Execution & {
  readonly abort: AbortController;
  /** Why it was aborted; decides what is reported. */
  abortedFor: AbortReason | null;
  /** Text that has not been put into the outbox yet. */
  text: string;
  outputs: number;
};

export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const loop = new WorkerLoop(options);
  const { bus, pool, workerId, logger } = options;
  const onError = (error: unknown) => logger.error({ err: error }, 'messages could not be handled');
  const control = await bus.subscribe({
    topic: runControlTopic(pool),
    group: workerId,
    onMessages: (messages) => loop.onControl(messages),
    onError,
  });
  const requests = await bus.subscribe({
    topic: runRequestsTopic(pool),
    group: `inference-${pool}`,
    onMessages: (messages) => loop.onRequests(messages),
    onError,
  });
  loop.sweepDeadlines();
  let stopping: Promise<void> | null = null;
  return {
    get runsInFlight() {
      return loop.runsInFlight;
    },
    stop(drainMs) {
      stopping ??= loop.stop([requests, control], drainMs);
      return stopping;
    },
  };
}

class WorkerLoop {
  readonly #options: WorkerOptions;
  /** The newest attempt of each run. */
  readonly #runs = new Map<string, RunUnderWay>();
  /** Every attempt that an engine is at work on. */
  readonly #underWay = new Set<RunUnderWay>();
  /** Runs with text to report. */
  readonly #dirty = new Set<RunUnderWay>();
  readonly #recent = new RecentRuns();
  readonly #outbox: Outbox;
  #executions = 0;
  #cancelSweep: () => void = () => {};
  #onIdle: (() => void) | null = null;

  constructor(options: WorkerOptions) {
    this.#options = options;
    const onError = (error: unknown) => options.logger.error({ err: error }, 'run reports could not be published');
    const { bus, scheduler } = options;
    this.#outbox = new Outbox({ bus, scheduler, lastTopic: RUN_RESULTS_TOPIC, afterLoss: withoutItsText, onError }, () =>
      this.#gatherText(),
    );
  }

  get runsInFlight(): number {
    return this.#underWay.size;
  }

  /** Where starts are told, a batch is not done with before the APIs know who has it: a run whose taker nobody knows would be waited for in vain. */
  onRequests(messages: readonly Message[]): Promise<void> | void {
    const taken: RunUnderWay[] = [];
    for (const message of messages) {
      const parsed = RunRequestedSchema.safeParse(message.value);
      if (!parsed.success) {
        // Nobody can mend it; the run's hold expires.
        this.#options.logger.error({ key: message.key, issues: parsed.error.issues }, 'run request not readable, passed over');
        continue;
      }
      this.#begin(parsed.data);
      const run = this.#runs.get(parsed.data.runId);
      if (run?.request.attempt === parsed.data.attempt) taken.push(run);
    }
    if (this.#options.tellsStarts === true && taken.length > 0) return this.#tellStarts(taken);
  }

  /** Rejects, so that the batch is delivered again and told again, when the bus does not take it. */
  async #tellStarts(runs: readonly Execution[]): Promise<void> {
    const byTopic = new Map<string, Message[]>();
    for (const { request, execution } of runs) {
      const { runId, attempt, replyTopic } = request;
      const started: Message = { key: runId, type: 'RunStarted', headers: {}, value: { runId, attempt, execution } };
      byTopic.set(replyTopic, [...(byTopic.get(replyTopic) ?? []), started]);
    }
    const publish = async (topic: string, starts: readonly Message[]) => {
      try {
        await this.#options.bus.publish(topic, starts);
      } catch (error) {
        // An API that is gone waits for nobody.
        if (!(error instanceof UnknownTopicError)) throw error;
      }
    };
    await Promise.all([...byTopic].map(([topic, starts]) => publish(topic, starts)));
  }

  onControl(messages: readonly Message[]): void {
    for (const message of messages) {
      const parsed = RunCancelRequestedSchema.safeParse(message.value);
      if (!parsed.success) continue;
      const { runId } = parsed.data;
      const run = this.#runs.get(runId);
      if (run === undefined) this.#recent.noteCancelled(runId);
      else this.#abort(run, 'cancel');
    }
  }

  sweepDeadlines(): void {
    this.#cancelSweep = this.#options.scheduler.delay(() => {
      const nowMs = this.#options.clock.nowMs();
      for (const run of this.#underWay) if (nowMs >= run.request.deadlineMs) this.#abort(run, 'deadline');
      this.sweepDeadlines();
    }, DEADLINE_SWEEP_MS);
  }

  async stop(subscriptions: readonly BusSubscription[], drainMs: number): Promise<void> {
    // Cancellations are heard until the end.
    await subscriptions[0]?.stop();
    await this.#drained(drainMs);
    if (this.#underWay.size > 0) {
      for (const run of this.#underWay) this.#abort(run, 'stopping');
      await this.#drained(ABORT_MS_MAX);
    }
    this.#cancelSweep();
    for (const subscription of subscriptions.slice(1)) await subscription.stop();
    await this.#outbox.settled();
  }

  /** Resolves when no run is under way, or after `withinMs`. */
  async #drained(withinMs: number): Promise<void> {
    if (this.#underWay.size === 0) return;
    let callOff = () => {};
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
      callOff = this.#options.scheduler.delay(resolve, withinMs);
    });
    callOff();
    this.#onIdle = null;
  }

  #begin(request: RunRequested): void {
    // At-least-once delivery: an attempt is run once, and an older one never again.
    if (!this.#recent.isNewAttempt(request.runId, request.attempt)) return;
    this.#executions += 1;
    const execution = executionOf(this.#options.workerId, this.#executions);
    const older = this.#runs.get(request.runId);
    if (older !== undefined) this.#abort(older, 'superseded');
    if (this.#recent.wasCancelled(request.runId)) {
      this.#reportResult({ request, execution, outputs: 0 }, null, CANCELLED_BEFORE_START);
      return;
    }
    if (this.#options.clock.nowMs() >= request.deadlineMs) {
      this.#reportFailure({ request, execution }, 'deadline_exceeded', 'The run waited past its deadline.', false);
      return;
    }
    const engine = this.#options.engineFor(request);
    if (engine === null) {
      this.#reportFailure({ request, execution }, 'model_unavailable', `This worker does not serve ${request.model}.`, true);
      return;
    }
    if (this.#underWay.size >= RUNS_MAX) {
      this.#reportFailure({ request, execution }, 'engine_at_capacity', 'The worker has all the runs that it can hold.', true);
      return;
    }
    const run: RunUnderWay = { request, execution, abort: new AbortController(), abortedFor: null, text: '', outputs: 0 };
    this.#runs.set(request.runId, run);
    this.#underWay.add(run);
    this.#options.metrics.runStarted();
    void this.#run(run, engine);
  }

  async #run(run: RunUnderWay, engine: Engine): Promise<void> {
    const { request } = run;
    try {
      const result = await engine.run({
        runId: request.runId,
        messages: request.input.kind === 'chat' ? request.input.messages : [],
        sampling: request.sampling,
        stop: request.stop,
        outputTokensBudget: request.outputTokensBudget,
        onText: (text) => this.#onText(run, text),
        signal: run.abort.signal,
      });
      this.#end(run);
      this.#report(run, engine, result);
    } catch (error) {
      this.#end(run);
      this.#reportError(run, error);
    }
  }

  #onText(run: RunUnderWay, text: string): void {
    if (run.abortedFor === 'superseded') return;
    run.text += text;
    if (!run.request.stream) return;
    this.#dirty.add(run);
    this.#outbox.flushSoon();
  }

  #gatherText(): void {
    for (const run of this.#dirty) this.#putText(run);
    this.#dirty.clear();
  }

  #putText(run: RunUnderWay): void {
    if (run.text === '') return;
    const { runId, attempt, replyTopic } = run.request;
    const value = { runId, attempt, execution: run.execution, index: run.outputs, text: run.text };
    run.text = '';
    run.outputs += 1;
    this.#outbox.put(replyTopic, { key: runId, type: 'RunOutput', headers: {}, value });
  }

  #end(run: RunUnderWay): void {
    if (this.#runs.get(run.request.runId) === run) this.#runs.delete(run.request.runId);
    this.#underWay.delete(run);
    this.#dirty.delete(run);
    this.#options.metrics.runEnded();
    if (this.#underWay.size === 0) this.#onIdle?.();
  }

  #report(run: RunUnderWay, engine: Engine, result: EngineResult): void {
    this.#options.metrics.tokensCounted(result.usage);
    if (run.abortedFor === 'superseded') return;
    if (result.outcome === 'cancelled' && run.abortedFor !== 'cancel') {
      this.#reportAbort(run);
      return;
    }
    this.#putText(run);
    this.#reportResult(run, result.systemFingerprint ?? engine.systemFingerprint, result);
  }

  #reportAbort(run: RunUnderWay): void {
    if (run.abortedFor === 'deadline') this.#reportFailure(run, 'deadline_exceeded', 'The run took longer than it may.', false);
    else this.#reportFailure(run, 'engine_failed', 'The worker is stopping.', true);
  }

  #reportError(run: RunUnderWay, error: unknown): void {
    if (run.abortedFor === 'superseded') return;
    if (run.abortedFor === 'cancel') {
      this.#reportResult(run, null, CANCELLED_BEFORE_START);
    } else if (error instanceof EngineError) {
      this.#reportFailure(run, error.code, error.message, error.retryable);
    } else {
      this.#options.logger.error({ err: error, runId: run.request.runId }, 'engine failed unexpectedly');
      this.#reportFailure(run, 'engine_failed', 'The engine failed.', true);
    }
  }

  #reportResult(run: Execution & { readonly outputs: number }, systemFingerprint: string | null, result: EngineResult): void {
    const { execution, outputs } = run;
    const { runId, accountId, attempt, replyTopic } = run.request;
    const { outcome, finishReason, usage, usageSource } = result;
    const value: RunFinished = {
      runId,
      accountId,
      attempt,
      execution,
      outcome,
      finishReason,
      usage,
      ...(usageSource === COUNTED_LOCALLY ? { usageSource } : {}),
      errorCode: null,
      systemFingerprint,
      outputs,
      replyTopic,
    };
    this.#outbox.put(RUN_RESULTS_TOPIC, { key: accountId, type: 'RunFinished', headers: {}, value: value as JsonObject });
  }

  #reportFailure({ request, execution }: Execution, errorCode: RunErrorCode, message: string, retryable: boolean): void {
    const { runId, attempt, replyTopic } = request;
    const value = { runId, attempt, execution, errorCode, message, retryable };
    this.#outbox.put(replyTopic, { key: runId, type: 'RunAttemptFailed', headers: {}, value });
  }

  #abort(run: RunUnderWay, reason: AbortReason): void {
    run.abortedFor ??= reason;
    run.abort.abort();
  }
}

/** The result of a run whose texts could not be handed over: nobody has the answer, so it failed and costs nothing. */
function withoutItsText(message: Message): Message {
  const finished = message.value as unknown as RunFinished;
  const failed: RunFinished = {
    ...finished,
    outcome: 'failed',
    finishReason: null,
    usage: NO_USAGE,
    errorCode: 'engine_failed',
    outputs: 0,
  };
  return { ...message, value: failed as JsonObject };
}
