/**
 * Serves a model from any server that speaks OpenAI's completions and embeddings: vLLM, llama-server, Ollama, a hosted provider.
 *
 *     run() ── place free? ──▶ POST {base}/chat/completions, streamed ──events──▶ Answer ──text, calls──▶ onText, onToolCalls
 *       └─ queue full: engine_at_capacity                                 ├─ finish reason, [DONE] ─▶ completed, counted by the upstream
 *                                                                         ├─ budget or stop sequence passed ─▶ completed, cut here
 *     abort ──▶ connection closed ──▶ cancelled                           └─ error, silence, broken off ─▶ EngineError
 *
 * The upstream is not trusted: what it sends is bounded, its budget is kept here too, its counts are checked (`usage-count.ts`), and so is whether
 * calls and formats are what was asked for (`answer-check.ts`).
 */
import type { Logger } from 'pino';
import type { FinishReason } from '../../../events/contract/index.js';
import type { Scheduler } from '../../../platform/scheduler.js';
import {
  CANCELLED_BEFORE_START,
  type EmbeddingResult,
  type EmbeddingRun,
  type Engine,
  EngineError,
  type EngineResult,
  type EngineRun,
  type EngineState,
} from '../engine.js';
import { Answer } from './answer.js';
import type { ChatEvent } from './chat-event.js';
import { type ChatStreamEnd, streamChat } from './chat-stream.js';
import { readEmbeddings } from './embedding-answer.js';
import { askForJson } from './json-answer.js';
import { Places } from './places.js';
import type { Complaint } from './upstream-errors.js';
import { embeddingBody, generationRequest, missingAbility } from './upstream-request.js';
import type { UpstreamTarget } from './upstream-settings.js';
import { UpstreamTrouble } from './upstream-trouble.js';
import { type CountTokens, countTokensByBytes, countUsage, promptBound } from './usage-count.js';

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
  embed(run: EmbeddingRun): Promise<EmbeddingResult>;
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
  readonly #trouble: UpstreamTrouble;
  #closed = false;

  constructor(options: UpstreamEngineOptions) {
    this.#options = options;
    this.#countTokens = options.countTokens ?? countTokensByBytes;
    const { name, model, concurrentMax, queuedMax } = options.target;
    this.#places = new Places(concurrentMax, queuedMax);
    this.#trouble = new UpstreamTrouble(options);
    this.systemFingerprint = fingerprint(`${name}_${model}`);
  }

  run(run: EngineRun): Promise<EngineResult> {
    const refusal = this.#refusalBefore(run);
    if (refusal !== null) return Promise.reject(refusal);
    if (run.signal.aborted) return Promise.resolve(CANCELLED_BEFORE_START);
    return this.#tracked(this.#inTurn(run.signal, (abort) => this.#serve(run, abort), endedBeforeStart));
  }

  embed(run: EmbeddingRun): Promise<EmbeddingResult> {
    const refusal = this.#refusalBefore(null);
    if (refusal !== null) return Promise.reject(refusal);
    if (run.signal.aborted) return Promise.reject(abortedUnderWay());
    return this.#tracked(this.#inTurn(run.signal, (abort) => this.#embed(run, abort), throwAborted));
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

  /** What can be told without asking the upstream. */
  #refusalBefore(run: EngineRun | null): EngineError | null {
    const { target } = this.#options;
    if (this.#closed) return new EngineError('engine_failed', 'the engine is closed', true);
    const missing = run === null ? null : missingAbility(target, run);
    if (missing !== null) return new EngineError('engine_failed', `the upstream ${target.name} does not know ${missing}`, false);
    return this.#places.areFull ? this.#trouble.atCapacity() : null;
  }

  #tracked<Result>(served: Promise<Result>): Promise<Result> {
    this.#runs.add(served);
    const forget = () => this.#runs.delete(served);
    served.then(forget, forget);
    return served;
  }

  async #inTurn<Result>(
    signal: AbortSignal,
    serve: (abort: AbortController) => Promise<Result>,
    onAborted: (cause: AbortCause) => Result,
  ): Promise<Result> {
    const abort = new AbortController();
    const end = (cause: AbortCause) => abort.abort(cause);
    const onCancelled = () => end('cancelled');
    signal.addEventListener('abort', onCancelled, { once: true });
    this.#ends.add(end);
    try {
      if ((await this.#places.take(abort.signal)) === 'aborted') return onAborted(abort.signal.reason as AbortCause);
      try {
        return await serve(abort);
      } finally {
        this.#places.leave();
      }
    } finally {
      signal.removeEventListener('abort', onCancelled);
      this.#ends.delete(end);
    }
  }

  async #embed(run: EmbeddingRun, abort: AbortController): Promise<EmbeddingResult> {
    const { target, scheduler } = this.#options;
    const connection = new AbortController();
    const closeConnection = () => connection.abort();
    abort.signal.addEventListener('abort', closeConnection, { once: true });
    this.#connections.add(connection);
    try {
      const onSilence = () => abort.abort('silent' satisfies AbortCause);
      const body = embeddingBody(target, run);
      const answer = await askForJson({ target, path: '/embeddings', body, connection, scheduler, onSilence });
      if (abort.signal.aborted) return this.#throwCause(abort);
      if (answer.kind !== 'answered') throw this.#trouble.refused(run.runId, answer);
      return readEmbeddings(answer.value, run, target.name, this.#countTokens);
    } catch (error) {
      if (abort.signal.aborted) return this.#throwCause(abort);
      throw this.#trouble.broken(error, run.runId, 0);
    } finally {
      abort.signal.removeEventListener('abort', closeConnection);
      this.#connections.delete(connection);
    }
  }

  #throwCause({ signal }: AbortController): never {
    const cause = signal.reason as AbortCause;
    throw cause === 'silent' ? this.#trouble.silent() : abortedBy(cause);
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
    const fitting = this.#options.contextTokens - promptBound(run);
    return fitting >= 1 && fitting < run.outputTokensBudget ? fitting : null;
  }

  async #exchange(exchange: Exchange, outputTokensMax: number, abort: AbortController): Promise<EngineResult> {
    if (abort.signal.aborted) return endedBeforeStart(abort.signal.reason as AbortCause);
    const { target, scheduler } = this.#options;
    const connection = new AbortController();
    const closeConnection = () => connection.abort();
    abort.signal.addEventListener('abort', closeConnection, { once: true });
    this.#connections.add(connection);
    let end: ChatStreamEnd;
    try {
      end = await streamChat({
        target,
        ...generationRequest(target, exchange.run, outputTokensMax),
        connection,
        scheduler,
        onSilence: () => abort.abort('silent' satisfies AbortCause),
        onReleased: () => this.#connections.delete(connection),
        onEvent: (event) => (abort.signal.aborted ? 'enough' : this.#onEvent(exchange, event)),
      });
    } catch (error) {
      if (!abort.signal.aborted) throw this.#trouble.broken(error, exchange.run.runId, exchange.answer.pieces);
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
        if (state !== 'refused') exchange.cutBy = state;
        return 'enough';
      }
    }
  }

  #ended(exchange: Exchange, end: ChatStreamEnd): EngineResult {
    const { answer, run } = exchange;
    if (end.kind === 'refused' || end.kind === 'garbled') throw this.#trouble.refused(run.runId, end);
    if (exchange.complaint !== null) throw this.#trouble.complained(run.runId, exchange.complaint);
    if (exchange.garbled !== null) throw this.#trouble.unreadable(exchange.garbled);
    if (answer.fault !== null) throw this.#trouble.unusable(answer.fault);
    if (exchange.cutBy !== null) return this.#cutShort(exchange, exchange.cutBy);
    // A stream that ends without a finish reason was cut off somewhere on its way, even where `[DONE]` follows.
    if (answer.finish === null) throw this.#trouble.unfinished('broke off its answer');
    if (answer.finish === 'failed') throw this.#trouble.unfinished('gave up its answer');
    const fault = answer.faultAtEnd();
    if (fault !== null) throw this.#trouble.unusable(fault);
    answer.flush();
    return this.#result(exchange, 'completed', answer.finish);
  }

  #cutShort(exchange: Exchange, cutBy: 'stop_sequence' | 'budget_used_up'): EngineResult {
    if (cutBy === 'stop_sequence') return this.#result(exchange, 'completed', 'stop');
    this.#trouble.goesOnBeyondBudget(exchange.run.runId, exchange.run.outputTokensBudget);
    exchange.answer.flush();
    return this.#result(exchange, 'completed', 'length');
  }

  #aborted(exchange: Exchange, cause: AbortCause): EngineResult {
    // Before its first event, an upstream may have done nothing yet; what cannot be known is not charged.
    if (cause === 'cancelled') return exchange.answer.hasBegun ? this.#result(exchange, 'cancelled', null) : CANCELLED_BEFORE_START;
    throw cause === 'silent' ? this.#trouble.silent() : abortedBy(cause);
  }

  #result({ run, answer }: Exchange, outcome: 'completed' | 'cancelled', finishReason: FinishReason | null): EngineResult {
    const { contextTokens, target } = this.#options;
    const generated = { ...run, text: answer.text, pieces: answer.pieces, contextTokens };
    const { usage, source, faults } = countUsage(answer.reportedUsage, generated, this.#countTokens);
    // An answer that was cut short has no last chunk, so it is no fault that the counts are missing.
    if (outcome === 'completed' && answer.finish !== null) this.#trouble.miscounts(run.runId, faults);
    const { fingerprint: own } = answer;
    const systemFingerprint = own === null ? this.systemFingerprint : fingerprint(`${target.name}_${target.model}_${own}`);
    return { outcome, finishReason, usage, usageSource: source, systemFingerprint };
  }
}

function newExchange(run: EngineRun): Exchange {
  return { run, answer: new Answer(run), cutBy: null, complaint: null, garbled: null };
}

/** Nothing had been asked of the upstream. */
function endedBeforeStart(cause: AbortCause): EngineResult {
  if (cause === 'cancelled') return CANCELLED_BEFORE_START;
  return throwAborted(cause);
}

function throwAborted(cause: AbortCause): never {
  throw abortedBy(cause);
}

function abortedBy(cause: AbortCause): EngineError {
  return cause === 'cancelled' ? abortedUnderWay() : new EngineError('engine_failed', 'the engine was closed', true);
}

function abortedUnderWay(): EngineError {
  return new EngineError('engine_failed', 'the run was aborted', true);
}

function isAboutContext(error: unknown): boolean {
  return error instanceof EngineError && error.code === 'context_length_exceeded';
}

function fingerprint(words: string): string {
  return `fp_${words.replace(/[^\w.-]+/g, '-')}`.slice(0, FINGERPRINT_CHARACTERS_MAX);
}
