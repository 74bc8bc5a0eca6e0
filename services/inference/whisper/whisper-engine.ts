/**
 * The whisper.cpp engine as the rest of Farebox sees it. The model lives in a child process (`whisper-child.ts`, `../engine-child.ts`). whisper.cpp
 * does not let go of a recording before it is done with it, so one that was cancelled ends with its process, and the next process loads at once.
 */
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import type { Scheduler } from '../../../platform/scheduler.js';
import { SPEECH_LANGUAGES } from '../../../platform/speech-languages.js';
import { type Engine, EngineError, type EngineResult, type EngineState, type Transcript, type TranscriptionRun } from '../engine.js';
import { EngineChild } from '../engine-child.js';
import type { FromWhisperChild, TranscriptionOrder, WhisperModelConfig } from './protocol.js';

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
  readonly #child: EngineChild<TranscriptionOrder, FromWhisperChild>;
  #nextNumber = 1;

  /** Starts loading at once. */
  constructor(options: WhisperEngineOptions) {
    this.#options = options;
    const { modelPath, threads, weightsSizeBytes, scheduler, logger } = options;
    const weights = createHash('sha256')
      .update(`${basename(modelPath)}\n${weightsSizeBytes}`)
      .digest('hex');
    this.systemFingerprint = `fp_${weights.slice(0, FINGERPRINT_CHARACTERS)}_whispercpp`;
    const config: WhisperModelConfig = { modelPath, threads };
    this.#child = new EngineChild({
      library: 'whisper.cpp',
      program: CHILD_PATH,
      config,
      // Samples travel as bytes.
      serialization: 'advanced',
      scheduler,
      logger,
      onMessage: (message) => this.#onMessage(message),
      onLost: (error) => this.#rejectActive(error),
      onFailed: (error) => this.#rejectAll(error),
    });
    this.#child.start();
  }

  get childPid(): number | null {
    return this.#child.pid;
  }

  state(): EngineState {
    return this.#child.state;
  }

  whenLoaded(): Promise<EngineState> {
    return this.#child.whenLoaded();
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
    return this.#child.close();
  }

  #refusal(): EngineError | null {
    if (this.#child.isClosing) return new EngineError('engine_failed', 'the engine is closed', true);
    const { state } = this.#child;
    if (state.status === 'failed') return new EngineError('model_unavailable', state.reason, true);
    // What waits through a restart after a cancelled recording waits less than through another attempt.
    if (this.#queued.length >= this.#options.queuedMax) {
      return new EngineError('engine_at_capacity', `${this.#options.queuedMax} recordings are waiting already`, true);
    }
    return null;
  }

  #next(): void {
    if (this.#active !== null || this.#child.state.status !== 'ready') return;
    const pending = this.#queued.shift();
    if (pending === undefined) return;
    this.#active = pending;
    const { samples, language = null, prompt = null, temperature } = pending.run;
    const order: TranscriptionOrder = { run: pending.number, samples, language, prompt, temperature };
    this.#child.send(order);
  }

  #onAborted(pending: Pending): void {
    const place = this.#queued.indexOf(pending);
    if (place >= 0) this.#queued.splice(place, 1);
    this.#release(pending);
    pending.reject(aborted());
    if (this.#active !== pending) return;
    this.#active = null;
    this.#child.replace();
  }

  #release({ run, onAbort }: Pending): void {
    run.signal.removeEventListener('abort', onAbort);
  }

  #onMessage(message: FromWhisperChild): void {
    switch (message.kind) {
      case 'ready':
        this.#child.isReady();
        this.#next();
        return;
      case 'unusable':
        this.#child.fail(`the model cannot be used: ${message.reason}`);
        return;
      case 'transcribed':
        this.#child.hasWorked();
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

  #rejectActive(error: EngineError): void {
    if (this.#active !== null) this.#take(this.#active.number)?.reject(error);
  }

  #rejectAll(error: EngineError): void {
    const all = [...(this.#active === null ? [] : [this.#active]), ...this.#queued.splice(0)];
    this.#active = null;
    for (const pending of all) {
      this.#release(pending);
      pending.reject(error);
    }
  }
}

function aborted(): EngineError {
  return new EngineError('engine_failed', 'the run was aborted', true);
}
