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
import type { BusSubscription, Message, MessageBus } from '../../events/bus/message-bus.js';
import {
  executionOf,
  RUN_RESULTS_TOPIC,
  RunCancelRequestedSchema,
  type RunRequested,
  RunRequestedSchema,
  runControlTopic,
  runRequestsTopic,
} from '../../events/contract/index.js';
import type { Clock } from '../../platform/clock.js';
import type { Scheduler } from '../../platform/scheduler.js';
import type { AnswerOutput } from './answer-output.js';
import { CANCELLED_BEFORE_START, type Engine, EngineError, type EngineResult } from './engine.js';
import type { MediaSource } from './media-source.js';
import { Outbox } from './outbox.js';
import { RecentRuns } from './recent-runs.js';
import { type Execution, type Failure, putFailure, putOutput, putResult, type Spoken, withoutItsText } from './run-reports.js';
import { answersOf, workOn } from './run-work.js';
import { tellStarts } from './tell-starts.js';
import type { WorkerMetrics } from './worker-metrics.js';

/** Runs in one worker's hands, running or waiting for their engine. Engines have tighter bounds of their own. */
export const RUNS_MAX = 4_096;

/** An engine has this long to let go of what was aborted when the worker stops; then it is closed with the process. */
const ABORT_MS_MAX = 2_000;

/** How often deadlines are looked at. They are minutes away, and the API waits a little longer. */
const DEADLINE_SWEEP_MS = 250;

const PAST_DEADLINE = { errorCode: 'deadline_exceeded', retryable: false } as const;

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
  /** Absent where no audio is to be had; transcriptions then fail. */
  readonly mediaSource?: MediaSource;
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

type RunUnderWay = Spoken & {
  readonly abort: AbortController;
  /** Why it was aborted; decides what is reported. `null` also when a failed answer ended the others. */
  abortedFor: AbortReason | null;
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
  /** Answers with something to put out, and whose they are. */
  readonly #dirty = new Map<AnswerOutput, RunUnderWay>();
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
      this.#gatherOutputs(),
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
    if (this.#options.tellsStarts === true && taken.length > 0) return tellStarts(this.#options.bus, taken);
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
      putResult(this.#outbox, { request, execution, answers: [], outputs: 0 }, null, CANCELLED_BEFORE_START);
      return;
    }
    const engine = this.#engineFor({ request, execution });
    if (engine === null) return;
    const run: RunUnderWay = {
      request,
      execution,
      abort: new AbortController(),
      abortedFor: null,
      answers: answersOf(request),
      outputs: 0,
    };
    this.#runs.set(request.runId, run);
    this.#underWay.add(run);
    this.#options.metrics.runStarted();
    void this.#run(run, engine);
  }

  /** `null`: there is none that may take the run, and that has been said. */
  #engineFor(asked: Execution): Engine | null {
    const { deadlineMs, model } = asked.request;
    if (this.#options.clock.nowMs() >= deadlineMs) {
      putFailure(this.#outbox, asked, { ...PAST_DEADLINE, message: 'The run waited past its deadline.' });
      return null;
    }
    const engine = this.#options.engineFor(asked.request);
    if (engine === null) {
      const message = `This worker does not serve ${model}.`;
      putFailure(this.#outbox, asked, { errorCode: 'model_unavailable', message, retryable: true });
      return null;
    }
    if (this.#underWay.size >= RUNS_MAX) {
      const message = 'The worker has all the runs that it can hold.';
      putFailure(this.#outbox, asked, { errorCode: 'engine_at_capacity', message, retryable: true });
      return null;
    }
    return engine;
  }

  async #run(run: RunUnderWay, engine: Engine): Promise<void> {
    const { request, answers, abort } = run;
    const { mediaSource } = this.#options;
    try {
      const result = await workOn({ request, engine, answers, abort, mediaSource, onOutput: (answer) => this.#onOutput(run, answer) });
      this.#end(run);
      this.#report(run, engine, result);
    } catch (error) {
      this.#end(run);
      this.#reportError(run, error);
    }
  }

  #onOutput(run: RunUnderWay, answer: AnswerOutput): void {
    if (!run.request.stream || run.abortedFor === 'superseded') return;
    this.#dirty.set(answer, run);
    this.#outbox.flushSoon();
  }

  #gatherOutputs(): void {
    for (const [answer, run] of this.#dirty) putOutput(this.#outbox, run, answer);
    this.#dirty.clear();
  }

  #end(run: RunUnderWay): void {
    if (this.#runs.get(run.request.runId) === run) this.#runs.delete(run.request.runId);
    this.#underWay.delete(run);
    for (const answer of run.answers) this.#dirty.delete(answer);
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
    for (const answer of run.answers) putOutput(this.#outbox, run, answer);
    putResult(this.#outbox, run, result.systemFingerprint ?? engine.systemFingerprint, result);
  }

  #reportAbort(run: RunUnderWay): void {
    if (run.abortedFor === 'deadline') putFailure(this.#outbox, run, { ...PAST_DEADLINE, message: 'The run took longer than it may.' });
    else putFailure(this.#outbox, run, { errorCode: 'engine_failed', message: 'The worker is stopping.', retryable: true });
  }

  #reportError(run: RunUnderWay, error: unknown): void {
    const { runId } = run.request;
    if (!(error instanceof EngineError)) this.#options.logger.error({ err: error, runId }, 'engine failed unexpectedly');
    else if (error.cause !== undefined) this.#options.logger.warn({ err: error.cause, runId }, 'run failed');
    switch (run.abortedFor) {
      case 'superseded':
        return;
      case 'cancel':
        putResult(this.#outbox, run, null, CANCELLED_BEFORE_START);
        return;
      case 'deadline':
      case 'stopping':
        this.#reportAbort(run);
        return;
      case null:
        putFailure(this.#outbox, run, failureOf(error));
    }
  }

  #abort(run: RunUnderWay, reason: AbortReason): void {
    run.abortedFor ??= reason;
    run.abort.abort();
  }
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof EngineError)) return { errorCode: 'engine_failed', message: 'The engine failed.', retryable: true };
  return { errorCode: error.code, message: error.message, retryable: error.retryable };
}
