/**
 * The engine without a model: it says what `echo-answer.ts` makes of a prompt. It serves test keys and load tests, so without pacing a run costs
 * microseconds and answers in one piece.
 */
import { NO_USAGE, type TokenUsage } from '../../../events/contract/index.js';
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
  type Transcript,
  type TranscriptionRun,
} from '../engine.js';
import { type EchoAnswer, echoAnswer, sayToken, sayWhole } from './echo-answer.js';
import { ECHO_DIMENSIONS_DEFAULT, ECHO_DIMENSIONS_MAX, echoVector } from './echo-embedding.js';
import { countPlainPromptTokens, countPromptTokens } from './echo-tokens.js';
import { echoTranscript } from './echo-transcript.js';

/** As large as the largest context in the catalogues. */
const CONTEXT_TOKENS_DEFAULT = 131_072;

export type EchoEngineOptions = {
  /** Prompt and answer together; 131,072 by default. */
  readonly contextTokens?: number;
  /**
   * Makes runs take time, one token per delay (0: one per turn of the event loop), so that tests can meet a run half way. Without it a
   * run ends within the call, and nothing ever queues.
   */
  readonly pacing?: {
    readonly scheduler: Scheduler;
    readonly tokenDelayMs: number;
    /** Runs under way at once. */
    readonly slots: number;
    /** Runs waiting beyond that; one more is refused with `engine_at_capacity`. */
    readonly queuedMax: number;
  };
};

type PacedRun = {
  readonly run: EngineRun;
  readonly answer: EchoAnswer;
  readonly promptTokens: number;
  readonly settle: (result: EngineResult | EngineError) => void;
  readonly onAbort: () => void;
  tokensDone: number;
  charactersDone: number;
  callOff: (() => void) | null;
};

export class EchoEngine implements Engine {
  readonly systemFingerprint: string = 'fp_echo';
  readonly #options: EchoEngineOptions;
  /** Prompt and answer together. */
  readonly contextTokens: number;
  readonly #active = new Set<PacedRun>();
  readonly #queued: PacedRun[] = [];
  #closed = false;

  constructor(options: EchoEngineOptions = {}) {
    this.#options = options;
    this.contextTokens = options.contextTokens ?? CONTEXT_TOKENS_DEFAULT;
  }

  run(run: EngineRun): Promise<EngineResult> {
    if (this.#closed) return Promise.reject(new EngineError('engine_failed', 'the engine is closed', true));
    if (run.signal.aborted) return Promise.resolve(CANCELLED_BEFORE_START);
    const { messages, prompt, toolUse } = run;
    const promptTokens = prompt === undefined ? countPromptTokens(messages, toolUse) : countPlainPromptTokens(prompt);
    if (promptTokens + 1 > this.contextTokens) return Promise.reject(this.#tooLong(promptTokens));
    const answer = echoAnswer(run, Math.min(run.outputTokensBudget, this.contextTokens - promptTokens));
    if (this.#options.pacing !== undefined) return this.#runPaced(run, answer, promptTokens, this.#options.pacing);
    sayWhole(run, answer);
    const { finishReason, completionTokens } = answer;
    return Promise.resolve({ outcome: 'completed', finishReason, usage: { promptTokens, cachedTokens: 0, completionTokens } });
  }

  /** Takes no time, paced or not. */
  async embed({ inputs, dimensions = ECHO_DIMENSIONS_DEFAULT, signal }: EmbeddingRun): Promise<EmbeddingResult> {
    this.#requireAtWork(signal);
    if (dimensions > ECHO_DIMENSIONS_MAX) {
      throw new EngineError('engine_failed', `the vectors have at most ${ECHO_DIMENSIONS_MAX} dimensions`, false);
    }
    let promptTokens = 0;
    for (const input of inputs) {
      const tokens = countPlainPromptTokens(input);
      if (tokens > this.contextTokens) throw this.#tooLong(tokens);
      promptTokens += tokens;
    }
    const vectors = inputs.map((input) => echoVector(input, dimensions));
    return { vectors, usage: { ...NO_USAGE, promptTokens } };
  }

  /** Takes no time, paced or not. */
  async transcribe(run: TranscriptionRun): Promise<Transcript> {
    this.#requireAtWork(run.signal);
    return echoTranscript(run);
  }

  state(): EngineState {
    return this.#closed ? { status: 'failed', reason: 'the engine is closed' } : { status: 'ready' };
  }

  load(): { readonly active: number; readonly queued: number } {
    return { active: this.#active.size, queued: this.#queued.length };
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const paced of [...this.#active, ...this.#queued]) {
      this.#leave(paced);
      paced.settle(new EngineError('engine_failed', 'the engine was closed', true));
    }
    return Promise.resolve();
  }

  #requireAtWork(signal: AbortSignal): void {
    if (this.#closed) throw new EngineError('engine_failed', 'the engine is closed', true);
    if (signal.aborted) throw new EngineError('engine_failed', 'the run was aborted', true);
  }

  #tooLong(promptTokens: number): EngineError {
    const message = `the prompt has ${promptTokens} tokens and the context holds ${this.contextTokens}`;
    return new EngineError('context_length_exceeded', message, false);
  }

  #runPaced(
    run: EngineRun,
    answer: EchoAnswer,
    promptTokens: number,
    pacing: NonNullable<EchoEngineOptions['pacing']>,
  ): Promise<EngineResult> {
    if (this.#active.size + this.#queued.length >= pacing.slots + pacing.queuedMax) {
      return Promise.reject(new EngineError('engine_at_capacity', `${pacing.queuedMax} runs are waiting already`, true));
    }
    return new Promise((resolve, reject) => {
      const paced: PacedRun = {
        run,
        answer,
        promptTokens,
        settle: (result) => {
          run.signal.removeEventListener('abort', paced.onAbort);
          if (result instanceof EngineError) reject(result);
          else resolve(result);
        },
        onAbort: () => this.#cancel(paced),
        tokensDone: 0,
        charactersDone: 0,
        callOff: null,
      };
      run.signal.addEventListener('abort', paced.onAbort, { once: true });
      this.#queued.push(paced);
      this.#startQueued();
    });
  }

  #startQueued(): void {
    const slots = this.#options.pacing?.slots ?? 0;
    while (!this.#closed && this.#active.size < slots) {
      const paced = this.#queued.shift();
      if (paced === undefined) return;
      this.#active.add(paced);
      this.#scheduleToken(paced);
    }
  }

  #scheduleToken(paced: PacedRun): void {
    const { pacing } = this.#options;
    if (pacing === undefined) return;
    const sayNext = () => this.#sayToken(paced);
    if (pacing.tokenDelayMs > 0) paced.callOff = pacing.scheduler.delay(sayNext, pacing.tokenDelayMs);
    else pacing.scheduler.defer(sayNext);
  }

  #sayToken(paced: PacedRun): void {
    // A deferred turn cannot be called off, so a cancelled run's last one ends here.
    if (!this.#active.has(paced)) return;
    const { answer } = paced;
    if (paced.tokensDone === answer.completionTokens) {
      this.#leave(paced);
      paced.settle({ outcome: 'completed', finishReason: answer.finishReason, usage: usageOf(paced) });
      return;
    }
    paced.tokensDone += 1;
    paced.charactersDone = sayToken(paced.run, answer, paced.tokensDone, paced.charactersDone);
    this.#scheduleToken(paced);
  }

  #cancel(paced: PacedRun): void {
    const started = this.#active.has(paced);
    this.#leave(paced);
    const usage = started ? usageOf(paced) : NO_USAGE;
    paced.settle({ outcome: 'cancelled', finishReason: null, usage });
  }

  #leave(paced: PacedRun): void {
    paced.callOff?.();
    if (!this.#active.delete(paced)) {
      const place = this.#queued.indexOf(paced);
      if (place >= 0) this.#queued.splice(place, 1);
    }
    this.#startQueued();
  }
}

function usageOf({ promptTokens, tokensDone }: PacedRun): TokenUsage {
  return { promptTokens, cachedTokens: 0, completionTokens: tokensDone };
}
