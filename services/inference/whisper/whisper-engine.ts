/**
 * The whisper.cpp engine as the rest of Farebox sees it. The model lives in a child process (`whisper-child.ts`): a native crash fails one
 * recording, the child comes back, and the process that serves never imports the native library.
 *
 *     loading ──ready──▶ ready ──crash, or a cancelled recording──▶ loading
 *        └─unusable, or crashed LOAD_ATTEMPTS_MAX times while loading──▶ failed
 *
 * whisper.cpp does not let go of a recording before it is done with it, so one that was cancelled ends with its process.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import type { Scheduler } from '../../../platform/scheduler.js';
import { SPEECH_LANGUAGES } from '../../../platform/speech-languages.js';
import { type Engine, EngineError, type EngineResult, type EngineState, type Transcript, type TranscriptionRun } from '../engine.js';
import type { FromWhisperChild, TranscriptionOrder, WhisperModelConfig } from './protocol.js';

/** Crashes in a row before the model was ready; a file that kills whisper.cpp twice will do so again. */
export const LOAD_ATTEMPTS_MAX = 2;

/** Crashes in a row with no recording transcribed in between, after which the engine gives up. */
export const CRASHES_MAX = 8;

const RESTART_DELAY_MS_MIN = 100;
const RESTART_DELAY_MS_MAX = 10_000;
const STDERR_CHARACTERS_MAX = 2_000;

/** What the child gets of our environment: what the loader of shared libraries needs, and no secret. */
const PASSED_ENVIRONMENT = ['PATH', 'HOME', 'TMPDIR', 'TEMP', 'LANG', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'SystemRoot'];
const CHILD_PATH = fileURLToPath(new URL('./whisper-child.js', import.meta.url));
const FINGERPRINT_CHARACTERS = 10;

export type WhisperEngineOptions = WhisperModelConfig & {
  /** Recordings that wait for the one under way; one more is refused with `engine_at_capacity`. Each is up to 58 MB. */
  readonly queuedMax: number;
  /** Of the binding and the weights, for the fingerprint. */
  readonly weightsSizeBytes: number;
  readonly scheduler: Scheduler;
  readonly logger: Logger;
};

type Pending = {
  readonly number: number;
  readonly run: TranscriptionRun;
  readonly onAbort: () => void;
  readonly resolve: (transcript: Transcript) => void;
  readonly reject: (error: EngineError) => void;
};

export class WhisperEngine implements Engine {
  readonly systemFingerprint: string;
  readonly #options: WhisperEngineOptions;
  readonly #queued: Pending[] = [];
  #active: Pending | null = null;
  #child: ChildProcess | null = null;
  #state: EngineState = { status: 'loading', progress: 0 };
  #nextNumber = 1;
  #crashesInRow = 0;
  #loadCrashesInRow = 0;
  #stderr = '';
  #callOffRestart: () => void = () => {};
  #closing: Promise<void> | null = null;
  #onSettledState: (() => void)[] = [];

  /** Starts loading at once. */
  constructor(options: WhisperEngineOptions) {
    this.#options = options;
    const weights = createHash('sha256')
      .update(`${basename(options.modelPath)}\n${options.weightsSizeBytes}`)
      .digest('hex');
    this.systemFingerprint = `fp_${weights.slice(0, FINGERPRINT_CHARACTERS)}_whispercpp`;
    this.#startChild();
  }

  get childPid(): number | null {
    return this.#child?.pid ?? null;
  }

  state(): EngineState {
    return this.#state;
  }

  async whenLoaded(): Promise<EngineState> {
    while (this.#state.status === 'loading') await new Promise<void>((resolve) => this.#onSettledState.push(resolve));
    return this.#state;
  }

  load(): { readonly active: number; readonly queued: number } {
    return { active: this.#active === null ? 0 : 1, queued: this.#queued.length };
  }

  run(): Promise<EngineResult> {
    return Promise.reject(new EngineError('model_unavailable', 'this model hears and does not write', false));
  }

  transcribe(run: TranscriptionRun): Promise<Transcript> {
    const refusal = this.#refusal();
    if (refusal !== null) return Promise.reject(refusal);
    if (run.signal.aborted) return Promise.reject(aborted());
    // whisper.cpp would end its process.
    if (run.language !== undefined && !SPEECH_LANGUAGES.has(run.language)) {
      return Promise.reject(new EngineError('engine_failed', `the model does not know the language ${run.language}`, false));
    }
    return new Promise((resolve, reject) => {
      const pending: Pending = { number: this.#nextNumber, run, onAbort: () => this.#onAborted(pending), resolve, reject };
      this.#nextNumber += 1;
      run.signal.addEventListener('abort', pending.onAbort, { once: true });
      this.#queued.push(pending);
      this.#next();
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #refusal(): EngineError | null {
    if (this.#closing !== null) return new EngineError('engine_failed', 'the engine is closed', true);
    if (this.#state.status === 'failed') return new EngineError('model_unavailable', this.#state.reason, true);
    // What waits through a restart after a cancelled recording waits less than through another attempt.
    if (this.#queued.length >= this.#options.queuedMax) {
      return new EngineError('engine_at_capacity', `${this.#options.queuedMax} recordings are waiting already`, true);
    }
    return null;
  }

  #next(): void {
    if (this.#active !== null || this.#state.status !== 'ready' || this.#child?.connected !== true) return;
    const pending = this.#queued.shift();
    if (pending === undefined) return;
    this.#active = pending;
    const { samples, language = null, prompt = null, temperature } = pending.run;
    const order: TranscriptionOrder = { run: pending.number, samples, language, prompt, temperature };
    this.#child.send(order, () => {});
  }

  #onAborted(pending: Pending): void {
    const place = this.#queued.indexOf(pending);
    if (place >= 0) this.#queued.splice(place, 1);
    this.#release(pending);
    pending.reject(aborted());
    if (this.#active !== pending) return;
    this.#active = null;
    const child = this.#child;
    this.#child = null;
    child?.kill('SIGKILL');
    this.#enter({ status: 'loading', progress: 0 });
    this.#startChild();
  }

  #release({ run, onAbort }: Pending): void {
    run.signal.removeEventListener('abort', onAbort);
  }

  #startChild(): void {
    const { modelPath, threads } = this.#options;
    const config: WhisperModelConfig = { modelPath, threads };
    const env: NodeJS.ProcessEnv = { UV_THREADPOOL_SIZE: '1' };
    for (const name of PASSED_ENVIRONMENT) if (process.env[name] !== undefined) env[name] = process.env[name];
    const child = fork(CHILD_PATH, [JSON.stringify(config)], {
      env,
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // Samples travel as bytes.
      serialization: 'advanced',
    });
    this.#child = child;
    this.#stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_CHARACTERS_MAX);
    });
    child.on('message', (message: FromWhisperChild) => {
      if (this.#child === child) this.#onMessage(message);
    });
    child.on('error', (error) => this.#options.logger.error({ err: error }, 'whisper child process'));
    child.once('close', (code, signal) => this.#onChildGone(child, signal ?? `code ${code}`));
  }

  #onMessage(message: FromWhisperChild): void {
    if (this.#closing !== null) return;
    switch (message.kind) {
      case 'ready':
        this.#loadCrashesInRow = 0;
        this.#enter({ status: 'ready' });
        this.#next();
        return;
      case 'unusable':
        this.#fail(`the model cannot be used: ${message.reason}`);
        return;
      case 'transcribed':
        this.#crashesInRow = 0;
        this.#take(message.run)?.resolve(message.transcript);
        this.#next();
        return;
      case 'failed':
        this.#take(message.run)?.reject(new EngineError('engine_failed', message.message, true));
        this.#next();
        return;
    }
  }

  #take(number: number): Pending | null {
    const pending = this.#active;
    if (pending === null || pending.number !== number) return null;
    this.#active = null;
    this.#release(pending);
    return pending;
  }

  #onChildGone(child: ChildProcess, cause: string): void {
    if (this.#child !== child) return;
    this.#child = null;
    if (this.#closing !== null || this.#state.status === 'failed') return;
    this.#loadCrashesInRow += this.#state.status === 'ready' ? 0 : 1;
    this.#crashesInRow += 1;
    this.#options.logger.error({ cause, stderr: this.#stderr }, 'whisper child process crashed');
    const active = this.#active;
    if (active !== null)
      this.#take(active.number)?.reject(new EngineError('engine_crashed', `the engine's process ended with ${cause}`, true));
    if (this.#loadCrashesInRow >= LOAD_ATTEMPTS_MAX) this.#fail(`whisper.cpp crashes while loading the model (${cause})`);
    else if (this.#crashesInRow >= CRASHES_MAX) this.#fail(`whisper.cpp crashed ${CRASHES_MAX} times in a row (${cause})`);
    else {
      this.#enter({ status: 'loading', progress: 0 });
      const delayMs = Math.min(RESTART_DELAY_MS_MAX, RESTART_DELAY_MS_MIN * 2 ** (this.#crashesInRow - 1));
      this.#callOffRestart = this.#options.scheduler.delay(() => this.#startChild(), delayMs);
    }
  }

  /** For good: an operator has to change something. */
  #fail(reason: string): void {
    this.#options.logger.error({ reason, modelPath: this.#options.modelPath }, 'whisper engine failed');
    this.#enter({ status: 'failed', reason });
    this.#rejectAll(new EngineError('model_unavailable', reason, true));
    this.#child?.kill('SIGKILL');
  }

  #rejectAll(error: EngineError): void {
    const all = [...(this.#active === null ? [] : [this.#active]), ...this.#queued.splice(0)];
    this.#active = null;
    for (const pending of all) {
      this.#release(pending);
      pending.reject(error);
    }
  }

  async #close(): Promise<void> {
    this.#callOffRestart();
    const child = this.#child;
    this.#rejectAll(new EngineError('engine_failed', 'the engine was closed', true));
    this.#enter({ status: 'failed', reason: 'the engine is closed' });
    if (child === null) return;
    const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
    child.kill('SIGKILL');
    await gone;
  }

  #enter(state: EngineState): void {
    this.#state = state;
    if (state.status === 'loading') return;
    for (const resolve of this.#onSettledState.splice(0)) resolve();
  }
}

function aborted(): EngineError {
  return new EngineError('engine_failed', 'the run was aborted', true);
}
