/**
 * Serves a model from any server that speaks OpenAI's chat completions: vLLM, llama-server, Ollama, a hosted provider.
 *
 *     run() ── place free? ──▶ POST {base}/chat/completions, streamed ──events──▶ Answer ──text──▶ onText
 *       └─ queue full: engine_at_capacity                                 ├─ finish reason, [DONE] ─▶ completed, counted by the upstream
 *                                                                         ├─ budget or stop sequence passed ─▶ completed, cut here
 *     abort ──▶ connection closed ──▶ cancelled                           └─ error, silence, broken off ─▶ EngineError
 *
 * The upstream is not trusted: what it sends is bounded, its budget is kept here too, and its counts are checked (`usage-count.ts`).
 */
import type { Logger } from 'pino';
import { type FinishReason, promptTokensBound } from '../../../events/contract/index.js';
import type { Scheduler } from '../../../platform/scheduler.js';
import { CANCELLED_BEFORE_START, type Engine, EngineError, type EngineResult, type EngineRun, type EngineState } from '../engine.js';
import { Answer } from './answer.js';
import type { ChatEvent } from './chat-event.js';
import { type ChatStreamEnd, ConnectionBroken, streamChat } from './chat-stream.js';
import { Places } from './places.js';
import { type Complaint, complaintForLog, errorOfComplaint } from './upstream-errors.js';
import { requestBody } from './upstream-request.js';
import type { UpstreamTarget } from './upstream-settings.js';
import { type CountTokens, countTokensByBytes, countUsage, type UsageFault } from './usage-count.js';

/** Of what an upstream says of itself in a fingerprint. */
const FINGERPRINT_CHARACTERS_MAX = 120;

export type UpstreamEngineOptions = {
  readonly target: UpstreamTarget;
  /** Prompt and answer together, as the offer promises them. */
  readonly contextTokens: number;
  /** Counts where the upstream gives no count, as its model would; by default four bytes are a token. */
  readonly countTokens?: CountTokens;
  readonly scheduler: Scheduler;
  readonly logger: Logger;
};

/** The engine's results say who counted and what served; see `EngineResult`. */
export interface UpstreamEngine extends Engine {
  run(run: EngineRun): Promise<EngineResult>;
}

/** Connects to nothing before the first run. */
export function upstreamEngine(options: UpstreamEngineOptions): UpstreamEngine {
  return new HttpUpstreamEngine(options);
}

/** Why a connection was aborted from this side. */
type AbortCause = 'cancelled' | 'closed' | 'silent';

/** One try of a run; a run has two when its budget does not fit. */
type Exchange = {
  readonly run: EngineRun;
  readonly answer: Answer;
  cutBy: 'stop_sequence' | 'budget_used_up' | null;
  complaint: Complaint | null;
  garbled: string | null;
};

class HttpUpstreamEngine implements UpstreamEngine {
  readonly systemFingerprint: string;
  readonly #options: UpstreamEngineOptions;
  readonly #countTokens: CountTokens;
  readonly #places: Places;
  /** Ends runs that are waiting or under way. */
  readonly #ends = new Set<(cause: AbortCause) => void>();
  /** Connections in use, also those whose run is over. */
  readonly #connections = new Set<AbortController>();
  readonly #runs = new Set<Promise<unknown>>();
  /** Faults that every answer has are worth one line, not one per answer. */
  readonly #faultsLogged = new Set<UsageFault>();
  #closed = false;

  constructor(options: UpstreamEngineOptions) {
    this.#options = options;
    this.#countTokens = options.countTokens ?? countTokensByBytes;
    const { name, model, concurrentMax, queuedMax } = options.target;
    this.#places = new Places(concurrentMax, queuedMax);
    this.systemFingerprint = fingerprint(`${name}_${model}`);
  }

  run(run: EngineRun): Promise<EngineResult> {
    if (this.#closed) return Promise.reject(new EngineError('engine_failed', 'the engine is closed', true));
    if (run.signal.aborted) return Promise.resolve(CANCELLED_BEFORE_START);
    if (this.#places.areFull) {
      const { name, queuedMax } = this.#options.target;
      return Promise.reject(new EngineError('engine_at_capacity', `${queuedMax} runs are waiting for the upstream ${name}`, true));
    }
    const served = this.#serveInTurn(run);
    this.#runs.add(served);
    const forget = () => this.#runs.delete(served);
    served.then(forget, forget);
    return served;
  }

  state(): EngineState {
    // Whether the upstream answers shows when it is asked; a failing one is left out by the circuit breaker in front of it.
    return this.#closed ? { status: 'failed', reason: 'the engine is closed' } : { status: 'ready' };
  }

  load(): { readonly active: number; readonly queued: number } {
    return { active: this.#places.taken, queued: this.#places.queued };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const end of [...this.#ends]) end('closed');
    for (const connection of [...this.#connections]) connection.abort();
    await Promise.allSettled(this.#runs);
  }

  async #serveInTurn(run: EngineRun): Promise<EngineResult> {
    const abort = new AbortController();
    const end = (cause: AbortCause) => abort.abort(cause);
    const onCancelled = () => end('cancelled');
    run.signal.addEventListener('abort', onCancelled, { once: true });
    this.#ends.add(end);
    try {
      if ((await this.#places.take(abort.signal)) === 'aborted') return this.#abortedBeforeStart(abort.signal.reason as AbortCause);
      try {
        return await this.#serve(run, abort);
      } finally {
        this.#places.leave();
      }
    } finally {
      run.signal.removeEventListener('abort', onCancelled);
      this.#ends.delete(end);
    }
  }

  async #serve(run: EngineRun, abort: AbortController): Promise<EngineResult> {
    const first = newExchange(run);
    try {
      return await this.#exchange(first, run.outputTokensBudget, abort);
    } catch (error) {
      const fitting = this.#fittingBudget(run);
      // Two tries' texts do not make one answer.
      if (!isAboutContext(error) || fitting === null || first.answer.pieces > 0) throw error;
      return await this.#exchange(newExchange(run), fitting, abort);
    }
  }

  /**
   * Some servers (vLLM, OpenAI) refuse a budget that the context has no room for, where others end the answer there. What is certain to fit is
   * then asked for instead; `null` when that is nothing, or what was asked for already.
   */
  #fittingBudget(run: EngineRun): number | null {
    const fitting = this.#options.contextTokens - promptTokensBound(run.messages);
    return fitting >= 1 && fitting < run.outputTokensBudget ? fitting : null;
  }

  async #exchange(exchange: Exchange, outputTokensMax: number, abort: AbortController): Promise<EngineResult> {
    if (abort.signal.aborted) return this.#abortedBeforeStart(abort.signal.reason as AbortCause);
    const { target, scheduler } = this.#options;
    const connection = new AbortController();
    const closeConnection = () => connection.abort();
    abort.signal.addEventListener('abort', closeConnection, { once: true });
    this.#connections.add(connection);
    let end: ChatStreamEnd;
    try {
      end = await streamChat({
        target,
        body: requestBody(target, exchange.run, outputTokensMax),
        connection,
        scheduler,
        onSilence: () => abort.abort('silent' satisfies AbortCause),
        onReleased: () => this.#connections.delete(connection),
        onEvent: (event) => (abort.signal.aborted ? 'enough' : this.#onEvent(exchange, event)),
      });
    } catch (error) {
      if (!abort.signal.aborted) throw this.#broken(error, exchange);
      end = { kind: 'enough' };
    } finally {
      abort.signal.removeEventListener('abort', closeConnection);
    }
    if (abort.signal.aborted) return this.#aborted(exchange, abort.signal.reason as AbortCause);
    return this.#ended(exchange, end);
  }

  #onEvent(exchange: Exchange, event: ChatEvent): 'go_on' | 'enough' | 'ended' {
    switch (event.kind) {
      case 'nothing':
        return 'go_on';
      case 'done':
        return 'ended';
      case 'complaint':
        exchange.complaint = event.complaint;
        return 'enough';
      case 'unreadable':
        exchange.garbled = event.reason;
        return 'enough';
      case 'chunk': {
        const state = exchange.answer.take(event);
        if (state === 'go_on') return 'go_on';
        exchange.cutBy = state;
        return 'enough';
      }
    }
  }

  #ended(exchange: Exchange, end: ChatStreamEnd): EngineResult {
    const { answer, run } = exchange;
    const { name } = this.#options.target;
    if (end.kind === 'refused') {
      this.#logComplaint(run, end.complaint, end.error, end.status);
      throw end.error;
    }
    if (exchange.complaint !== null) {
      const error = errorOfComplaint(name, exchange.complaint);
      this.#logComplaint(run, exchange.complaint, error, null);
      throw error;
    }
    if (end.kind === 'garbled') throw new EngineError('engine_failed', `the upstream ${name}: ${end.reason}`, end.retryable);
    if (exchange.garbled !== null) throw new EngineError('engine_failed', `the upstream ${name}: ${exchange.garbled}`, true);
    if (exchange.cutBy !== null) return this.#cutShort(exchange, exchange.cutBy);
    // A stream that ends without a finish reason was cut off somewhere on its way, even where `[DONE]` follows.
    if (answer.finish === null) throw new EngineError('engine_failed', `the upstream ${name} broke off its answer`, true);
    if (answer.finish === 'failed') throw new EngineError('engine_failed', `the upstream ${name} gave up its answer`, true);
    answer.flush();
    return this.#result(exchange, 'completed', answer.finish);
  }

  #cutShort(exchange: Exchange, cutBy: 'stop_sequence' | 'budget_used_up'): EngineResult {
    if (cutBy === 'stop_sequence') return this.#result(exchange, 'completed', 'stop');
    this.#options.logger.warn(
      { upstream: this.#options.target.name, runId: exchange.run.runId, outputTokensBudget: exchange.run.outputTokensBudget },
      'upstream goes on beyond the output budget, answer cut',
    );
    exchange.answer.flush();
    return this.#result(exchange, 'completed', 'length');
  }

  #aborted(exchange: Exchange, cause: AbortCause): EngineResult {
    // Before its first event, an upstream may have done nothing yet; what cannot be known is not charged.
    if (cause === 'cancelled') return exchange.answer.hasBegun ? this.#result(exchange, 'cancelled', null) : CANCELLED_BEFORE_START;
    if (cause === 'closed') throw closedUnderWay();
    throw new EngineError('engine_failed', `the upstream ${this.#options.target.name} has been silent for too long`, true);
  }

  #abortedBeforeStart(cause: AbortCause): EngineResult {
    if (cause === 'cancelled') return CANCELLED_BEFORE_START;
    throw closedUnderWay();
  }

  #broken(error: unknown, { run, answer }: Exchange): unknown {
    if (!(error instanceof ConnectionBroken)) return error;
    const { name } = this.#options.target;
    const { code } = error;
    this.#options.logger.warn(
      { upstream: name, runId: run.runId, cause: code, pieces: answer.pieces },
      'connection to the upstream broken',
    );
    return new EngineError('engine_failed', `the connection to the upstream ${name} broke (${code})`, true);
  }

  #result({ run, answer }: Exchange, outcome: 'completed' | 'cancelled', finishReason: FinishReason | null): EngineResult {
    const { contextTokens, target } = this.#options;
    const { messages, outputTokensBudget } = run;
    const generated = { messages, text: answer.text, pieces: answer.pieces, outputTokensBudget, contextTokens };
    const { usage, source, faults } = countUsage(answer.reportedUsage, generated, this.#countTokens);
    // An answer that was cut short has no last chunk, so it is no fault that the counts are missing.
    if (outcome === 'completed' && answer.finish !== null) this.#logFaults(run, faults);
    const { fingerprint: own } = answer;
    const systemFingerprint = own === null ? this.systemFingerprint : fingerprint(`${target.name}_${target.model}_${own}`);
    return { outcome, finishReason, usage, usageSource: source, systemFingerprint };
  }

  #logFaults(run: EngineRun, faults: readonly UsageFault[]): void {
    for (const fault of faults) {
      const level = this.#faultsLogged.has(fault) ? 'debug' : 'warn';
      this.#faultsLogged.add(fault);
      this.#options.logger[level](
        { upstream: this.#options.target.name, runId: run.runId, fault },
        'token counts of the upstream not taken over',
      );
    }
  }

  #logComplaint(run: EngineRun, complaint: Complaint, error: EngineError, status: number | null): void {
    const { name, apiKey } = this.#options.target;
    const words = complaintForLog(complaint, apiKey);
    // A busy upstream refuses many runs a second, and their failures tell it already.
    const level = error.code === 'engine_at_capacity' ? 'debug' : 'warn';
    this.#options.logger[level]({ upstream: name, runId: run.runId, status, ...words }, 'upstream refused a run');
  }
}

function newExchange(run: EngineRun): Exchange {
  return { run, answer: new Answer(run), cutBy: null, complaint: null, garbled: null };
}

function closedUnderWay(): EngineError {
  return new EngineError('engine_failed', 'the engine was closed', true);
}

function isAboutContext(error: unknown): boolean {
  return error instanceof EngineError && error.code === 'context_length_exceeded';
}

function fingerprint(words: string): string {
  return `fp_${words.replace(/[^\w.-]+/g, '-')}`.slice(0, FINGERPRINT_CHARACTERS_MAX);
}
