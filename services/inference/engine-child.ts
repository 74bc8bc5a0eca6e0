/**
 * The child process that an engine of native code lives in: a native crash fails the runs of one attempt, the child comes back, and the process
 * that serves never imports the native library.
 *
 *     loading ──isReady()──▶ ready ──crash──▶ loading (after a pause that doubles)
 *        └─fail(), or crashed LOAD_ATTEMPTS_MAX times while loading──▶ failed
 */
import { type ChildProcess, fork, type Serializable } from 'node:child_process';
import type { Logger } from 'pino';
import type { Scheduler } from '../../platform/scheduler.js';
import { EngineError, type EngineState } from './engine.js';

/** Crashes in a row before the model was ready; a file that kills the library twice will do so again. */
const LOAD_ATTEMPTS_MAX = 2;

/** Crashes in a row with no run completed in between, after which the engine gives up. */
const CRASHES_MAX = 8;

const RESTART_DELAY_MS_MIN = 100;
const RESTART_DELAY_MS_MAX = 10_000;

/** Kept of what the child wrote to standard error, to say why it crashed. */
const STDERR_CHARACTERS_MAX = 2_000;

/** What the child gets of our environment: what the loader of shared libraries needs, and no secret. */
const PASSED_ENVIRONMENT = ['PATH', 'HOME', 'TMPDIR', 'TEMP', 'LANG', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'SystemRoot'];

export type EngineChildOptions<FromChild> = {
  /** Of the library, for people. */
  readonly library: string;
  /** The compiled program, and its only argument, which it gets as JSON. */
  readonly program: string;
  readonly config: { readonly modelPath: string };
  /** `advanced` where bytes travel. */
  readonly serialization?: 'json' | 'advanced';
  readonly scheduler: Scheduler;
  readonly logger: Logger;
  readonly onMessage: (message: FromChild) => void;
  /** The child is gone, and what it was at work on with it. */
  readonly onLost: (error: EngineError) => void;
  /** For good: nothing that waits will be served. */
  readonly onFailed: (error: EngineError) => void;
};

export class EngineChild<ToChild, FromChild> {
  readonly #options: EngineChildOptions<FromChild>;
  #child: ChildProcess | null = null;
  #state: EngineState = { status: 'loading', progress: 0 };
  #crashesInRow = 0;
  #loadCrashesInRow = 0;
  #stderr = '';
  #callOffRestart: () => void = () => {};
  #closing: Promise<void> | null = null;
  #onSettledState: (() => void)[] = [];

  /** `start` loads the model; until then there is no child. */
  constructor(options: EngineChildOptions<FromChild>) {
    this.#options = options;
  }

  /** `null` between two children. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  get state(): EngineState {
    return this.#state;
  }

  get isClosing(): boolean {
    return this.#closing !== null;
  }

  /** Resolves when the engine is ready or has failed. */
  async whenLoaded(): Promise<EngineState> {
    while (this.#state.status === 'loading') await new Promise<void>((resolve) => this.#onSettledState.push(resolve));
    return this.#state;
  }

  start(): void {
    const { program, config, serialization = 'json', logger, library } = this.#options;
    const env: NodeJS.ProcessEnv = { UV_THREADPOOL_SIZE: '1' };
    for (const name of PASSED_ENVIRONMENT) if (process.env[name] !== undefined) env[name] = process.env[name];
    const child = fork(program, [JSON.stringify(config)], { env, execArgv: [], stdio: ['ignore', 'ignore', 'pipe', 'ipc'], serialization });
    this.#child = child;
    this.#stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_CHARACTERS_MAX);
    });
    child.on('message', (message) => {
      if (this.#child === child && this.#closing === null) this.#options.onMessage(message as FromChild);
    });
    child.on('error', (error) => logger.error({ err: error }, `${library} child process`));
    // A child that could not be started has no exit; Node reports `error` and then `close`.
    child.once('close', (code, signal) => this.#onGone(child, signal ?? `code ${code}`));
  }

  /** A channel that is closing loses it; the child's end settles the runs. */
  send(message: ToChild): void {
    if (this.#child?.connected) this.#child.send(message as Serializable, () => {});
  }

  isLoading(progress: number): void {
    this.#enter({ status: 'loading', progress: Math.min(1, Math.max(0, progress)) });
  }

  isReady(): void {
    this.#loadCrashesInRow = 0;
    this.#enter({ status: 'ready' });
  }

  /** A run was completed: the crashes before it were not in a row with those to come. */
  hasWorked(): void {
    this.#crashesInRow = 0;
  }

  /** For good: an operator has to change something. */
  fail(reason: string): void {
    const { logger, config, library, onFailed } = this.#options;
    logger.error({ reason, modelPath: config.modelPath }, `${library} engine failed`);
    this.#enter({ status: 'failed', reason });
    onFailed(new EngineError('model_unavailable', reason, true));
    this.#child?.kill('SIGKILL');
  }

  /** Ends what the child is at work on with the child; the next one loads at once. */
  replace(): void {
    if (this.#closing !== null) return;
    const child = this.#child;
    this.#child = null;
    child?.kill('SIGKILL');
    this.#enter({ status: 'loading', progress: 0 });
    this.start();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#callOffRestart();
    const child = this.#child;
    this.#options.onFailed(new EngineError('engine_failed', 'the engine was closed', true));
    this.#enter({ status: 'failed', reason: 'the engine is closed' });
    if (child === null) return;
    const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
    // The child holds nothing that must be put away, and freeing a context under work that is under way is how one crashes.
    child.kill('SIGKILL');
    await gone;
  }

  #onGone(child: ChildProcess, cause: string): void {
    if (this.#child !== child) return;
    this.#child = null;
    if (this.#closing !== null || this.#state.status === 'failed') return;
    const { logger, library, onLost, scheduler } = this.#options;
    this.#loadCrashesInRow += this.#state.status === 'ready' ? 0 : 1;
    this.#crashesInRow += 1;
    logger.error({ cause, stderr: this.#stderr }, `${library} child process crashed`);
    onLost(new EngineError('engine_crashed', `the engine's process ended with ${cause}`, true));
    if (this.#loadCrashesInRow >= LOAD_ATTEMPTS_MAX) {
      this.fail(`${library} crashes while loading the model (${cause})`);
    } else if (this.#crashesInRow >= CRASHES_MAX) {
      this.fail(`${library} crashed ${CRASHES_MAX} times in a row (${cause})`);
    } else {
      this.#enter({ status: 'loading', progress: 0 });
      const delayMs = Math.min(RESTART_DELAY_MS_MAX, RESTART_DELAY_MS_MIN * 2 ** (this.#crashesInRow - 1));
      this.#callOffRestart = scheduler.delay(() => this.start(), delayMs);
    }
  }

  #enter(state: EngineState): void {
    this.#state = state;
    if (state.status === 'loading') return;
    for (const resolve of this.#onSettledState.splice(0)) resolve();
  }
}
