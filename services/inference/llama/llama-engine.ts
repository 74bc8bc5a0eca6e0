/** The llama.cpp engine as the rest of Farebox sees it. The model lives in a child process (`llama-child.ts`, `../engine-child.ts`). */
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { NO_USAGE } from '../../../events/contract/index.js';
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
import { EngineChild } from '../engine-child.js';
import type { FromChild, LlamaModelConfig, ModelFacts, RunOrder, Step, ToChild } from './protocol.js';

const CHILD_PATH = fileURLToPath(new URL('./llama-child.js', import.meta.url));

export type LlamaEngineOptions = Omit<LlamaModelConfig, 'binding'> & {
  /** Runs waiting for a sequence; one more is refused with `engine_at_capacity`. */
  readonly queuedMax: number;
  readonly scheduler: Scheduler;
  readonly logger: Logger;
  readonly binding?: LlamaModelConfig['binding'];
};

type Pending<Run, Result> = {
  readonly run: Run;
  readonly onAbort: () => void;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: EngineError) => void;
};

export class LlamaEngine implements Engine {
  readonly #options: LlamaEngineOptions;
  readonly #runs = new Map<number, Pending<EngineRun, EngineResult>>();
  readonly #embeddings = new Map<number, Pending<EmbeddingRun, EmbeddingResult>>();
  readonly #child: EngineChild<ToChild, FromChild>;
  #facts: ModelFacts | null = null;
  #nextRun = 1;

  /** Starts loading at once; see `state()` and `whenLoaded()`. */
  constructor(options: LlamaEngineOptions) {
    this.#options = options;
    const { modelPath, sequences, contextTokens, batchTokens, threads, binding = 'auto', scheduler, logger } = options;
    const config: LlamaModelConfig = { modelPath, sequences, contextTokens, batchTokens, threads, binding };
    this.#child = new EngineChild({
      library: 'llama.cpp',
      program: CHILD_PATH,
      config,
      scheduler,
      logger,
      onMessage: (message) => this.#onMessage(message),
      onLost: (error) => this.#failRuns(error),
      onFailed: (error) => this.#failRuns(error),
    });
    this.#child.start();
  }

  /** `fp_loading` until the model has been loaded for the first time. */
  get systemFingerprint(): string {
    return this.#facts?.systemFingerprint ?? 'fp_loading';
  }

  /** What was loaded; `null` until then. Its context is what a prompt and its answer may really have. */
  get facts(): ModelFacts | null {
    return this.#facts;
  }

  /** The child's process id, for tests and for those who watch processes; `null` between two children. */
  get childPid(): number | null {
    return this.#child.pid;
  }

  /** Resolves when the engine is ready or has failed. */
  whenLoaded(): Promise<EngineState> {
    return this.#child.whenLoaded();
  }

  state(): EngineState {
    return this.#child.state;
  }

  load(): { readonly active: number; readonly queued: number } {
    // The child fills its sequences before it lets anything wait.
    const active = Math.min(this.#runs.size, this.#options.sequences) + Math.min(this.#embeddings.size, 1);
    return { active, queued: this.#runs.size + this.#embeddings.size - active };
  }

  run(run: EngineRun): Promise<EngineResult> {
    const refusal = this.#refusal(this.#runs.size, this.#options.sequences);
    if (refusal !== null) return Promise.reject(refusal);
    if (run.signal.aborted) return Promise.resolve(CANCELLED_BEFORE_START);
    const { messages, sampling, stop, outputTokensBudget, prompt, toolUse, format } = run;
    return this.#await(this.#runs, run, (number) => {
      // Node's channel speaks JSON, which leaves out what is undefined.
      const order = { run: number, messages, sampling, stop, outputTokensBudget, prompt, toolUse, format } as RunOrder;
      this.#child.send({ kind: 'run', order });
    });
  }

  embed(run: EmbeddingRun): Promise<EmbeddingResult> {
    const refusal = this.#refusal(this.#embeddings.size, 1);
    if (refusal !== null) return Promise.reject(refusal);
    if (run.signal.aborted) return Promise.reject(new EngineError('engine_failed', 'The run was aborted.', true));
    const { inputs, dimensions } = run;
    return this.#await(this.#embeddings, run, (number) => {
      this.#child.send({ kind: 'embed', order: { run: number, inputs, ...(dimensions === undefined ? {} : { dimensions }) } });
    });
  }

  #await<Run extends { readonly signal: AbortSignal }, Result>(
    pending: Map<number, Pending<Run, Result>>,
    run: Run,
    order: (number: number) => void,
  ): Promise<Result> {
    const number = this.#nextRun;
    this.#nextRun += 1;
    return new Promise((resolve, reject) => {
      const onAbort = () => this.#child.send({ kind: 'cancel', run: number });
      run.signal.addEventListener('abort', onAbort, { once: true });
      pending.set(number, { run, onAbort, resolve, reject });
      order(number);
    });
  }

  close(): Promise<void> {
    return this.#child.close();
  }

  #refusal(underWay: number, atOnce: number): EngineError | null {
    if (this.#child.isClosing) return new EngineError('engine_failed', 'the engine is closed', true);
    const { state } = this.#child;
    switch (state.status) {
      case 'loading':
        return new EngineError('model_loading', `the model is loading (${Math.round(state.progress * 100)} %)`, true);
      case 'failed':
        return new EngineError('model_unavailable', state.reason, true);
      case 'ready':
        if (underWay < atOnce + this.#options.queuedMax) return null;
        return new EngineError('engine_at_capacity', `${this.#options.queuedMax} runs are waiting already`, true);
    }
  }

  #onMessage(message: FromChild): void {
    switch (message.kind) {
      case 'step':
        this.#onStep(message);
        return;
      case 'embedded':
        this.#onEmbedded(message);
        return;
      case 'loading':
        this.#child.isLoading(message.progress);
        return;
      case 'ready':
        this.#facts = message.facts;
        this.#options.logger.info(message.facts, 'model loaded');
        this.#child.isReady();
        return;
      case 'unusable':
        this.#child.fail(`the model cannot be used: ${message.reason}`);
        return;
      case 'log':
        this.#options.logger[message.level]({ source: 'llama.cpp' }, message.message);
        return;
    }
  }

  #onStep({ texts, calls = [], endings, failures }: Step): void {
    for (const [number, text, logprobs] of texts) {
      const run = this.#runs.get(number)?.run;
      if (logprobs === undefined) run?.onText(text);
      else run?.onText(text, logprobs);
    }
    for (const [number, deltas] of calls) this.#runs.get(number)?.run.onToolCalls?.(deltas);
    for (const { run, outcome, finishReason, promptTokens, cachedTokens, completionTokens } of endings) {
      this.#child.hasWorked();
      take(this.#runs, run)?.resolve({ outcome, finishReason, usage: { promptTokens, cachedTokens, completionTokens } });
    }
    for (const { run, code, message, retryable } of failures) this.#reject(run, new EngineError(code, message, retryable));
  }

  #onEmbedded({ run, vectors, promptTokens }: Extract<FromChild, { kind: 'embedded' }>): void {
    this.#child.hasWorked();
    const usage = { ...NO_USAGE, promptTokens };
    take(this.#embeddings, run)?.resolve({ vectors: vectors.map(vectorOf), usage });
  }

  #reject(number: number, error: EngineError): void {
    (take(this.#runs, number) ?? take(this.#embeddings, number))?.reject(error);
  }

  #failRuns(error: EngineError): void {
    for (const number of [...this.#runs.keys(), ...this.#embeddings.keys()]) this.#reject(number, error);
  }
}

function take<Run extends { readonly signal: AbortSignal }, Result>(
  all: Map<number, Pending<Run, Result>>,
  number: number,
): Pending<Run, Result> | undefined {
  const pending = all.get(number);
  if (pending === undefined) return undefined;
  all.delete(number);
  pending.run.signal.removeEventListener('abort', pending.onAbort);
  return pending;
}

/** Copied, so that the floats stand where floats may stand. */
function vectorOf(base64: string): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(base64, 'base64'));
  return new Float32Array(bytes.buffer);
}
