/**
 * One run as the API sees it, from `RunRequested` to `RunSettled`. The API is the harness: it repeats a failed attempt on another worker
 * while nothing has been handed to the client, and gives up by reporting the run as failed. It never settles; the ledger does. Only when the bus
 * takes neither the run nor its failure, the ledger is told directly, so that the hold need not wait for its expiry.
 *
 *   running(attempt) ──RunOutput──▶ running            output is handed on: of one execution, the first to speak or the one booked
 *         │ ├────────RunAttemptFailed (retryable, nothing handed on, attempts left)──▶ running(attempt + 1)
 *         │ └────────any other failure, deadline, nobody there to take it──▶ given up: RunFinished{failed} is published
 *         └──RunSettled──▶ settled ──all outputs are here──▶ ended       (also from given up)
 */

import { BusFullError, type MessageBus } from '../../../events/bus/message-bus.js';
import {
  type JsonObject,
  NO_USAGE,
  RUN_RESULTS_TOPIC,
  type RunAttemptFailed,
  type RunErrorCode,
  type RunFinished,
  type RunOutput,
  type RunRequested,
  type RunSettled,
  type RunStarted,
  runControlTopic,
  runRequestsTopic,
  WORKER_LOST_AFTER_MS,
  workerOfExecution,
} from '../../../events/contract/index.js';
import type { Scheduler } from '../../../platform/scheduler.js';
import { HeldBack } from './held-back.js';

/** The first attempt and two repetitions. */
export const RUN_ATTEMPTS_MAX = 3;
/** Of all attempts, each of which may be delivered to several workers. Outputs are kept of each until the books have accepted one. */
const EXECUTIONS_MAX = 6;
/** What a worker may need beyond the deadline to report that it stopped there. */
export const WORKER_REPORT_GRACE_MS = 2_000;
/**
 * After the deadline and this, the client is told that the run failed, without a settlement. Longer than the ledger's grace and the time that
 * it tries to write, so that what it has charged is known here first; after its grace it charges nothing.
 */
export const SETTLEMENT_GRACE_MS = 20_000;
/** Outputs and settlement come from different producers, so the last texts may follow the settlement; only so long. */
export const LATE_OUTPUTS_GRACE_MS = 5_000;
/** A pool that has lost its workers may get one back, such as one that is started again; a run that nobody has taken waits for that so long. */
export const EMPTY_POOL_GRACE_MS = WORKER_LOST_AFTER_MS;
/** Tries to publish a final word; beyond them the ledger is told directly, and where that fails too, the hold's expiry says it. */
const PUBLISH_TRIES_MAX = 3;
const PUBLISH_RETRY_DELAY_MS = 100;

export type RunEnding =
  /** Charged as `settled` says; all of the output was handed on. */
  | { readonly status: 'completed'; readonly settled: RunSettled }
  /** Settled without an answer. `failure` is what the last attempt reported. */
  | { readonly status: 'not_completed'; readonly settled: RunSettled; readonly failure: RunFailure | null }
  /** Charged, but output of the accepted attempt is missing: the answer cannot be given. */
  | { readonly status: 'answer_lost'; readonly settled: RunSettled }
  /** No settlement was seen in time, or the run was abandoned. */
  | { readonly status: 'unsettled'; readonly failure: RunFailure | null };

export type RunFailure = { readonly errorCode: RunErrorCode; readonly message: string };

export type RunInFlightOptions = {
  readonly request: RunRequested;
  readonly pool: string;
  readonly bus: MessageBus;
  readonly scheduler: Scheduler;
  /** Streams: output is handed on at once, and from then on the run is not repeated. Otherwise all of it at the end, in order. */
  readonly onOutput: (output: RunOutput) => void;
  /** Tells the ledger of a run that nobody could be told of over the bus. */
  readonly abandon: (run: { readonly accountId: string; readonly runId: string; readonly errorCode: RunErrorCode }) => Promise<void>;
  /** Called once, when nothing more will come. */
  readonly onEnded: (ending: RunEnding) => void;
  readonly onTrouble: (message: string, error: unknown) => void;
};

/** What has come of one execution. */
type Execution = { outputs: number; readonly heldBack: HeldBack };

export class RunInFlight {
  readonly #options: RunInFlightOptions;
  #attempt: number;
  /**
   * Of every attempt: a worker that was taken for lost may still finish, and a request may be delivered to another beside a later attempt. The books
   * accept whichever result comes first, and then its output must be here.
   */
  readonly #executions = new Map<string, Execution>();
  /** Those of the attempt under way that nobody has taken for lost, in the order they were heard of. */
  readonly #atWork = new Set<string>();
  /** The execution whose output the client of a stream has. */
  #handedOn: string | null = null;
  #failure: RunFailure | null = null;
  #settled: RunSettled | null = null;
  #settledAtMs = 0;
  /** Since when nobody has the run, nor is there anybody in its pool to take it. */
  #strandedSinceMs: number | null = null;
  #gaveUp = false;
  #cancelled = false;
  #ended = false;

  constructor(options: RunInFlightOptions) {
    this.#options = options;
    this.#attempt = options.request.attempt;
  }

  get runId(): string {
    return this.#options.request.runId;
  }

  get pool(): string {
    return this.#options.pool;
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Hands the run to the workers. When the bus does not take it, the run is given up. */
  async publish(): Promise<void> {
    const { request, bus, pool } = this.#options;
    const attempt = this.#attempt;
    const value = attempt === request.attempt ? request : { ...request, attempt };
    try {
      await bus.publish(runRequestsTopic(pool), [message(request.runId, 'RunRequested', value as JsonObject)]);
    } catch (error) {
      const errorCode = error instanceof BusFullError ? 'engine_at_capacity' : 'run_abandoned';
      if (errorCode === 'run_abandoned') this.#options.onTrouble('a run could not be handed to the workers', error);
      if (attempt === this.#attempt) await this.#giveUp({ errorCode, message: 'The run could not be handed to a worker.' });
    }
  }

  onOutput(output: RunOutput): void {
    if (this.#ended || this.#cancelled) return;
    const wanted = this.#settled?.execution ?? this.#handedOn ?? output.execution;
    if (output.execution !== wanted) return;
    if (output.attempt === this.#attempt) this.#atWork.add(output.execution);
    const execution = this.#executionOf(output.execution);
    // The bus delivers at least once and in order: a lower index is a repetition.
    if (execution === null || output.index !== execution.outputs) return;
    if (this.#options.request.stream) {
      this.#handedOn = output.execution;
      this.#options.onOutput(output);
    } else if (!execution.heldBack.add(output)) return;
    execution.outputs += 1;
    if (this.#settled !== null) this.#endIfWhole(this.#settled);
  }

  onStarted({ attempt, execution }: RunStarted): void {
    if (!this.#ended && attempt === this.#attempt) this.#atWork.add(execution);
  }

  /** A worker has fallen silent: what it had of this run fails, unless another is at work on it too. */
  onWorkerLost(workerId: string): void {
    const lost = [...this.#atWork].filter((execution) => workerOfExecution(execution) === workerId);
    for (const execution of lost) this.#atWork.delete(execution);
    const hasSpoken = this.#handedOn !== null && workerOfExecution(this.#handedOn) === workerId;
    const isOnlyHope = this.#handedOn === null ? lost.length > 0 && this.#atWork.size === 0 : hasSpoken;
    const execution = this.#handedOn ?? lost[0];
    if (execution === undefined || !isOnlyHope) return;
    const message = 'The worker was lost.';
    this.onAttemptFailed({ runId: this.runId, attempt: this.#attempt, execution, errorCode: 'worker_lost', message, retryable: true });
  }

  onAttemptFailed(failed: RunAttemptFailed): void {
    if (this.#ended || this.#gaveUp || this.#settled !== null) return;
    // The client may have another execution's output, which goes on.
    if (this.#handedOn === null ? failed.attempt !== this.#attempt : failed.execution !== this.#handedOn) return;
    if (failed.retryable && this.#mayRepeat(failed.errorCode)) {
      this.#attempt += 1;
      this.#atWork.clear();
      // What has failed by its own word will have no result; what was only taken for lost may.
      if (failed.errorCode !== 'worker_lost') this.#executions.delete(failed.execution);
      void this.publish();
      return;
    }
    void this.#giveUp({ errorCode: failed.errorCode, message: failed.message });
  }

  onSettled(settled: RunSettled, nowMs: number): void {
    if (this.#ended || this.#settled !== null) return;
    this.#settled = settled;
    this.#settledAtMs = nowMs;
    if (settled.outcome !== 'completed' || this.#cancelled) this.#end({ status: 'not_completed', settled, failure: this.#failure });
    // The books accepted an execution whose output was passed over, or this announces a result that had been settled before.
    else if (!this.#isFollowed(settled) || settled.finishReason === null) this.#end({ status: 'answer_lost', settled });
    else this.#endIfWhole(settled);
  }

  /** Called now and then; ends what has waited too long. `hasWorkers`: whether anybody in the pool takes work, or soon will. */
  onTick(nowMs: number, hasWorkers = true): void {
    if (this.#ended) return;
    const { deadlineMs } = this.#options.request;
    if (this.#settled !== null) {
      if (nowMs >= this.#settledAtMs + LATE_OUTPUTS_GRACE_MS) this.#end({ status: 'answer_lost', settled: this.#settled });
    } else if (nowMs >= deadlineMs + SETTLEMENT_GRACE_MS) this.#end({ status: 'unsettled', failure: this.#failure });
    else if (nowMs >= deadlineMs + WORKER_REPORT_GRACE_MS && !this.#gaveUp) {
      void this.#giveUpAtDeadline();
    } else if (this.#isStranded(nowMs, hasWorkers)) void this.#giveUp({ errorCode: 'worker_lost', message: 'No worker took the run.' });
  }

  /** The client is gone: the workers stop, and nothing more is handed on. The run still waits for its settlement. */
  cancel(): void {
    if (this.#ended || this.#cancelled) return;
    this.#cancelled = true;
    this.#executions.clear();
    this.#atWork.clear();
    void this.#tellWorkersToStop();
  }

  #isStranded(nowMs: number, hasWorkers: boolean): boolean {
    if (hasWorkers || this.#atWork.size > 0) {
      this.#strandedSinceMs = null;
      return false;
    }
    this.#strandedSinceMs ??= nowMs;
    return nowMs >= this.#strandedSinceMs + EMPTY_POOL_GRACE_MS;
  }

  #mayRepeat(errorCode: RunErrorCode): boolean {
    // A full queue is an answer: repeating it at once would only fill it further.
    return this.#handedOn === null && !this.#cancelled && this.#attempt < RUN_ATTEMPTS_MAX && errorCode !== 'engine_at_capacity';
  }

  #isFollowed({ execution }: RunSettled): boolean {
    return this.#handedOn === null || this.#handedOn === execution;
  }

  /** `null`: there are more than anybody will ever need. */
  #executionOf(name: string): Execution | null {
    const known = this.#executions.get(name);
    if (known !== undefined || this.#executions.size >= EXECUTIONS_MAX) return known ?? null;
    const execution = { outputs: 0, heldBack: new HeldBack() };
    this.#executions.set(name, execution);
    return execution;
  }

  #endIfWhole(settled: RunSettled): void {
    const execution = this.#executions.get(settled.execution);
    if ((execution?.outputs ?? 0) < settled.outputs) return;
    for (const output of execution?.heldBack.outputs ?? []) this.#options.onOutput(output);
    this.#end({ status: 'completed', settled });
  }

  #end(ending: RunEnding): void {
    this.#ended = true;
    this.#options.onEnded(ending);
  }

  /** Reports the run as failed, so that the ledger refunds it; the answer follows the settlement. */
  async #giveUp(failure: RunFailure): Promise<void> {
    if (this.#gaveUp || this.#ended) return;
    this.#gaveUp = true;
    this.#failure = failure;
    const { request } = this.#options;
    const finished: RunFinished = {
      runId: request.runId,
      accountId: request.accountId,
      attempt: this.#attempt,
      execution: '',
      outcome: 'failed',
      finishReason: null,
      usage: NO_USAGE,
      errorCode: failure.errorCode,
      systemFingerprint: null,
      outputs: 0,
      replyTopic: request.replyTopic,
    };
    const reported = await this.#publishPersistently(RUN_RESULTS_TOPIC, request.accountId, 'RunFinished', finished as JsonObject);
    if (reported || this.#ended) return;
    await this.#abandon(failure.errorCode);
    if (!this.#ended) this.#end({ status: 'unsettled', failure });
  }

  async #abandon(errorCode: RunErrorCode): Promise<void> {
    const { accountId, runId } = this.#options.request;
    try {
      await this.#options.abandon({ accountId, runId, errorCode });
    } catch (error) {
      this.#options.onTrouble('a run could not be abandoned; its hold waits for expiry', error);
    }
  }

  /** The failure goes first: a worker that is told to stop reports a cancellation, which may be charged. */
  async #giveUpAtDeadline(): Promise<void> {
    await this.#giveUp({ errorCode: 'deadline_exceeded', message: 'The run did not finish in time.' });
    await this.#tellWorkersToStop();
  }

  async #tellWorkersToStop(): Promise<void> {
    const { request, pool } = this.#options;
    await this.#publishPersistently(runControlTopic(pool), request.runId, 'RunCancelRequested', { runId: request.runId });
  }

  async #publishPersistently(topic: string, key: string, type: string, value: JsonObject): Promise<boolean> {
    for (let tries = 1; tries <= PUBLISH_TRIES_MAX; tries += 1) {
      try {
        await this.#options.bus.publish(topic, [message(key, type, value)]);
        return true;
      } catch (error) {
        if (tries === PUBLISH_TRIES_MAX) this.#options.onTrouble(`${type} could not be published`, error);
        else await this.#wait(PUBLISH_RETRY_DELAY_MS * tries);
      }
    }
    return false;
  }

  #wait(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.#options.scheduler.delay(resolve, delayMs));
  }
}

const NO_HEADERS: Readonly<Record<string, string>> = {};

function message(key: string, type: string, value: JsonObject) {
  return { key, type, headers: NO_HEADERS, value };
}
