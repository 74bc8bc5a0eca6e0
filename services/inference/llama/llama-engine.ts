/**
 * The llama.cpp engine as the rest of Farebox sees it. The model lives in a child process (`llama-child.ts`): a native crash fails the runs
 * of one attempt, the child comes back, and the process that serves HTTP never imports the native library.
 *
 *     loading ──ready──▶ ready ──crash──▶ loading (after a pause that doubles)
 *        └─unusable, or crashed LOAD_ATTEMPTS_MAX times while loading──▶ failed
 */
import { type ChildProcess, fork } from 'node:child_process';
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
import type { FromChild, LlamaModelConfig, ModelFacts, RunOrder, Step, ToChild } from './protocol.js';

/** Crashes in a row before the model was ready; a file that kills llama.cpp twice will do so again. */
export const LOAD_ATTEMPTS_MAX = 2;

/** Crashes in a row with no run completed in between, after which the engine gives up. */
export const CRASHES_MAX = 8;

const RESTART_DELAY_MS_MIN = 100;
const RESTART_DELAY_MS_MAX = 10_000;

/** Kept of what the child wrote to standard error, to say why it crashed. */
const STDERR_CHARACTERS_MAX = 2_000;

/** What the child gets of our environment: what the loader of shared libraries needs, and no secret. */
const PASSED_ENVIRONMENT = ['PATH', 'HOME', 'TMPDIR', 'TEMP', 'LANG', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'SystemRoot'];

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
  #child: ChildProcess | null = null;
  #state: EngineState = { status: 'loading', progress: 0 };
  #facts: ModelFacts | null = null;
  #nextRun = 1;
  #crashesInRow = 0;
  #loadCrashesInRow = 0;
  #stderr = '';
  #callOffRestart: () => void = () => {};
  #closing: Promise<void> | null = null;
  #onSettledState: (() => void)[] = [];

  /** Starts loading at once; see `state()` and `whenLoaded()`. */
  constructor(options: LlamaEngineOptions) {
    this.#options = options;
    this.#startChild();
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
    return this.#child?.pid ?? null;
  }

  /** Resolves when the engine is ready or has failed. */
  async whenLoaded(): Promise<EngineState> {
    while (this.#state.status === 'loading') await new Promise<void>((resolve) => this.#onSettledState.push(resolve));
    return this.#state;
  }

  state(): EngineState {
    return this.#state;
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
      this.#send({ kind: 'run', order });
    });
  }

  embed(run: EmbeddingRun): Promise<EmbeddingResult> {
    const refusal = this.#refusal(this.#embeddings.size, 1);
    if (refusal !== null) return Promise.reject(refusal);
    if (run.signal.aborted) return Promise.reject(new EngineError('engine_failed', 'The run was aborted.', true));
    const { inputs, dimensions } = run;
    return this.#await(this.#embeddings, run, (number) => {
      this.#send({ kind: 'embed', order: { run: number, inputs, ...(dimensions === undefined ? {} : { dimensions }) } });
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
      const onAbort = () => this.#send({ kind: 'cancel', run: number });
      run.signal.addEventListener('abort', onAbort, { once: true });
      pending.set(number, { run, onAbort, resolve, reject });
      order(number);
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #refusal(underWay: number, atOnce: number): EngineError | null {
    if (this.#closing !== null) return new EngineError('engine_failed', 'the engine is closed', true);
    switch (this.#state.status) {
      case 'loading':
        return new EngineError('model_loading', `the model is loading (${Math.round(this.#state.progress * 100)} %)`, true);
      case 'failed':
        return new EngineError('model_unavailable', this.#state.reason, true);
      case 'ready':
        if (underWay < atOnce + this.#options.queuedMax) return null;
        return new EngineError('engine_at_capacity', `${this.#options.queuedMax} runs are waiting already`, true);
    }
  }

  async #close(): Promise<void> {
    this.#callOffRestart();
    const child = this.#child;
    this.#failRuns(new EngineError('engine_failed', 'the engine was closed', true));
    this.#enter({ status: 'failed', reason: 'the engine is closed' });
    if (child === null) return;
    const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
    // The child holds nothing that must be put away, and freeing a context under a running decode is how one crashes.
    child.kill('SIGKILL');
    await gone;
  }

  #startChild(): void {
    const { modelPath, sequences, contextTokens, batchTokens, threads, binding = 'auto' } = this.#options;
    const config: LlamaModelConfig = { modelPath, sequences, contextTokens, batchTokens, threads, binding };
    const env: NodeJS.ProcessEnv = { UV_THREADPOOL_SIZE: '1' };
    for (const name of PASSED_ENVIRONMENT) if (process.env[name] !== undefined) env[name] = process.env[name];
    const child = fork(CHILD_PATH, [JSON.stringify(config)], { env, execArgv: [], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    this.#child = child;
    this.#stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_CHARACTERS_MAX);
    });
    child.on('message', (message: FromChild) => this.#onMessage(message));
    child.on('error', (error) => this.#options.logger.error({ err: error }, 'llama child process'));
    // A child that could not be started has no exit; Node reports `error` and then `close`.
    child.once('close', (code, signal) => this.#onChildGone(child, signal ?? `code ${code}`));
  }

  #send(message: ToChild): void {
    // A channel that is closing reports here; the child's end settles the runs.
    if (this.#child?.connected) this.#child.send(message, () => {});
  }

  #onMessage(message: FromChild): void {
    if (this.#closing !== null) return;
    switch (message.kind) {
      case 'step':
        this.#onStep(message);
        return;
      case 'embedded':
        this.#onEmbedded(message);
        return;
      case 'loading':
        this.#enter({ status: 'loading', progress: Math.min(1, Math.max(0, message.progress)) });
        return;
      case 'ready':
        this.#facts = message.facts;
        this.#loadCrashesInRow = 0;
        this.#options.logger.info(message.facts, 'model loaded');
        this.#enter({ status: 'ready' });
        return;
      case 'unusable':
        this.#fail(`the model cannot be used: ${message.reason}`);
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
      this.#crashesInRow = 0;
      take(this.#runs, run)?.resolve({ outcome, finishReason, usage: { promptTokens, cachedTokens, completionTokens } });
    }
    for (const { run, code, message, retryable } of failures) this.#reject(run, new EngineError(code, message, retryable));
  }

  #onEmbedded({ run, vectors, promptTokens }: Extract<FromChild, { kind: 'embedded' }>): void {
    this.#crashesInRow = 0;
    const usage = { ...NO_USAGE, promptTokens };
    take(this.#embeddings, run)?.resolve({ vectors: vectors.map(vectorOf), usage });
  }

  #reject(number: number, error: EngineError): void {
    (take(this.#runs, number) ?? take(this.#embeddings, number))?.reject(error);
  }

  #failRuns(error: EngineError): void {
    for (const number of [...this.#runs.keys(), ...this.#embeddings.keys()]) this.#reject(number, error);
  }

  #onChildGone(child: ChildProcess, cause: string): void {
    if (this.#child !== child) return;
    this.#child = null;
    if (this.#closing !== null || this.#state.status === 'failed') return;
    const wasReady = this.#state.status === 'ready';
    this.#crashesInRow += 1;
    this.#loadCrashesInRow += wasReady ? 0 : 1;
    this.#options.logger.error({ cause, stderr: this.#stderr, runs: this.#runs.size }, 'llama child process crashed');
    this.#failRuns(new EngineError('engine_crashed', `the engine's process ended with ${cause}`, true));
    if (this.#loadCrashesInRow >= LOAD_ATTEMPTS_MAX) {
      this.#fail(`llama.cpp crashes while loading the model (${cause})`);
    } else if (this.#crashesInRow >= CRASHES_MAX) {
      this.#fail(`llama.cpp crashed ${CRASHES_MAX} times in a row (${cause})`);
    } else {
      this.#enter({ status: 'loading', progress: 0 });
      const delayMs = Math.min(RESTART_DELAY_MS_MAX, RESTART_DELAY_MS_MIN * 2 ** (this.#crashesInRow - 1));
      this.#callOffRestart = this.#options.scheduler.delay(() => this.#startChild(), delayMs);
    }
  }

  /** For good: an operator has to change something. */
  #fail(reason: string): void {
    this.#options.logger.error({ reason, modelPath: this.#options.modelPath }, 'engine failed');
    this.#enter({ status: 'failed', reason });
    this.#failRuns(new EngineError('model_unavailable', reason, true));
    this.#child?.kill('SIGKILL');
  }

  #enter(state: EngineState): void {
    this.#state = state;
    if (state.status === 'loading') return;
    for (const resolve of this.#onSettledState.splice(0)) resolve();
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
