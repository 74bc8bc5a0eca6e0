/**
 * Several engines for one model, upstreams and local weights, behind one port: a run goes to the first in the preset's order that takes it,
 * and to the next when that one fails before anything was handed out. Afterwards it fails as a whole, since two engines' answers do not
 * make one. Embeddings and transcriptions go to those that make any, and are handed out whole.
 */
import type { Logger } from 'pino';
import type { RunErrorCode } from '../../../events/contract/index.js';
import type { Clock } from '../../../platform/clock.js';
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
import { BREAKER_DEFAULT, type BreakerSettings, CircuitBreaker } from './circuit-breaker.js';

export type FailoverOptions = {
  /** In the order in which they are tried; at least one. */
  readonly engines: readonly { readonly name: string; readonly engine: Engine }[];
  readonly breaker?: BreakerSettings;
  readonly clock: Clock;
  readonly logger: Logger;
};

export interface FailoverEngine extends Engine {
  run(run: EngineRun): Promise<EngineResult>;
  whenLoaded(): Promise<EngineState>;
}

/** Closes the engines that it was given when it is closed. */
export function failoverEngine(options: FailoverOptions): FailoverEngine {
  return new OrderedEngines(options);
}

type Member = { readonly name: string; readonly engine: Engine; readonly breaker: CircuitBreaker };

class OrderedEngines implements FailoverEngine {
  readonly #members: readonly Member[];
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly embed?: (run: EmbeddingRun) => Promise<EmbeddingResult>;
  readonly transcribe?: (run: TranscriptionRun) => Promise<Transcript>;

  constructor({ engines, breaker = BREAKER_DEFAULT, clock, logger }: FailoverOptions) {
    if (engines.length === 0) throw new Error('a failover needs at least one engine');
    this.#members = engines.map(({ name, engine }) => ({ name, engine, breaker: new CircuitBreaker(breaker) }));
    this.#clock = clock;
    this.#logger = logger;
    if (engines.some(({ engine }) => engine.embed !== undefined)) this.embed = (run) => this.#inOrder(run, embedding(run));
    if (engines.some(({ engine }) => engine.transcribe !== undefined)) this.transcribe = (run) => this.#inOrder(run, transcription(run));
  }

  /** Of the engine that would be tried first now. What served a run is in its result. */
  get systemFingerprint(): string {
    const nowMs = this.#clock.nowMs();
    const usable = this.#members.find((member) => isUsable(member, nowMs)) ?? this.#members[0];
    return usable?.engine.systemFingerprint ?? 'fp_none';
  }

  run(run: EngineRun): Promise<EngineResult> {
    return this.#inOrder(run, generation(run));
  }

  async #inOrder<Result>({ runId, signal }: AskedRun, work: Work<Result>): Promise<Result> {
    const errors: EngineError[] = [];
    for (const member of this.#members) {
      if (signal.aborted) return work.whenAborted();
      const ask = work.askOf(member.engine);
      if (ask === null) continue;
      const entry = member.breaker.enter(this.#clock.nowMs());
      if (entry === 'refused') continue;
      const attempt = await this.#attempt(member, entry, ask, signal);
      if (attempt.status === 'served') return attempt.result;
      if (attempt.hasSpoken) throw attempt.error;
      errors.push(attempt.error);
      const { code, message } = attempt.error;
      const level = isSignOfTrouble(attempt.error) ? 'warn' : 'debug';
      this.#logger[level]({ engine: member.name, runId, code, reason: message }, 'engine passed over');
    }
    if (signal.aborted) return work.whenAborted();
    throw mostUsefulOf(errors);
  }

  /** `ready` while any engine would take a run. `failed` here heals by itself, once a breaker lets a run through again. */
  state(): EngineState {
    const nowMs = this.#clock.nowMs();
    let progress: number | null = null;
    const reasons: string[] = [];
    for (const member of this.#members) {
      if (isUsable(member, nowMs)) return { status: 'ready' };
      const state = member.engine.state();
      if (state.status === 'loading') progress = Math.max(progress ?? 0, state.progress);
      else
        reasons.push(
          `${member.name}: ${state.status === 'failed' ? state.reason : `failed ${member.breaker.failuresInRow} times in a row`}`,
        );
    }
    return progress === null ? { status: 'failed', reason: reasons.join('; ') } : { status: 'loading', progress };
  }

  /** Resolves as soon as one engine is ready; otherwise when all have ended loading. */
  async whenLoaded(): Promise<EngineState> {
    const readies = this.#members.map(async ({ engine }) => {
      const state = engine.whenLoaded === undefined ? engine.state() : await engine.whenLoaded();
      if (state.status !== 'ready') throw new Error('not ready');
    });
    await Promise.any(readies).catch(() => {});
    return this.state();
  }

  load(): { readonly active: number; readonly queued: number } {
    let active = 0;
    let queued = 0;
    for (const { engine } of this.#members) {
      const load = engine.load();
      active += load.active;
      queued += load.queued;
    }
    return { active, queued };
  }

  async close(): Promise<void> {
    await Promise.all(this.#members.map(({ engine }) => engine.close()));
  }

  async #attempt<Result>(member: Member, entry: 'closed' | 'probe', ask: Ask<Result>, signal: AbortSignal): Promise<Attempt<Result>> {
    const { breaker } = member;
    let hasSpoken = false;
    const onSpoken = () => {
      hasSpoken = true;
    };
    try {
      const { result, isWhole } = await ask(onSpoken);
      if (isWhole || hasSpoken) breaker.succeeded();
      else breaker.undecided(entry);
      return { status: 'served', result };
    } catch (error) {
      if (!(error instanceof EngineError)) {
        breaker.undecided(entry);
        throw error;
      }
      // Who was told to stop is not ill for having stopped.
      if (signal.aborted) breaker.undecided(entry);
      else this.#noteFailure(member, entry, error);
      return { status: 'failed', error, hasSpoken };
    }
  }

  #noteFailure({ name, breaker }: Member, entry: 'closed' | 'probe', error: EngineError): void {
    if (!isSignOfTrouble(error)) breaker.undecided(entry);
    else if (breaker.failed(entry, this.#clock.nowMs())) {
      this.#logger.warn({ engine: name, failuresInRow: breaker.failuresInRow }, 'engine left out for a while');
    }
  }
}

type AskedRun = { readonly runId: string; readonly signal: AbortSignal };

/** Asks one engine; `onSpoken` is called when anything is handed out before the end. `isWhole`: not cut short by an abort. */
type Ask<Result> = (onSpoken: () => void) => Promise<{ readonly result: Result; readonly isWhole: boolean }>;

type Work<Result> = {
  /** `null`: the engine does no such work. */
  readonly askOf: (engine: Engine) => Ask<Result> | null;
  /** Between two engines. */
  readonly whenAborted: () => Result;
};

type Attempt<Result> =
  | { readonly status: 'served'; readonly result: Result }
  | { readonly status: 'failed'; readonly error: EngineError; readonly hasSpoken: boolean };

function generation(run: EngineRun): Work<EngineResult> {
  const { onToolCalls } = run;
  const ask = async (engine: Engine, onSpoken: () => void) => {
    const result = await engine.run({
      ...run,
      onText: (text, logprobs) => {
        onSpoken();
        if (logprobs === undefined) run.onText(text);
        else run.onText(text, logprobs);
      },
      ...(onToolCalls === undefined
        ? {}
        : {
            onToolCalls: (deltas) => {
              onSpoken();
              onToolCalls(deltas);
            },
          }),
    });
    const isWhole = result.outcome === 'completed';
    // An engine that generated nothing served nothing.
    if (!isWhole && result.usage.promptTokens === 0) return { result, isWhole };
    return { result: { ...result, systemFingerprint: result.systemFingerprint ?? engine.systemFingerprint }, isWhole };
  };
  return { askOf: (engine) => (onSpoken) => ask(engine, onSpoken), whenAborted: () => CANCELLED_BEFORE_START };
}

function embedding(run: EmbeddingRun): Work<EmbeddingResult> {
  const ask = async (engine: Engine, embed: NonNullable<Engine['embed']>) => {
    const result = await embed.call(engine, run);
    return { result: { ...result, systemFingerprint: result.systemFingerprint ?? engine.systemFingerprint }, isWhole: true };
  };
  const askOf = (engine: Engine) => {
    const { embed } = engine;
    return embed === undefined ? null : () => ask(engine, embed);
  };
  return { askOf, whenAborted: throwAborted };
}

function transcription(run: TranscriptionRun): Work<Transcript> {
  const ask = async (engine: Engine, transcribe: NonNullable<Engine['transcribe']>) => {
    return { result: await transcribe.call(engine, run), isWhole: true };
  };
  const askOf = (engine: Engine) => {
    const { transcribe } = engine;
    return transcribe === undefined ? null : () => ask(engine, transcribe);
  };
  return { askOf, whenAborted: throwAborted };
}

function throwAborted(): never {
  throw new EngineError('engine_failed', 'the run was aborted', true);
}

function isUsable({ engine, breaker }: Member, nowMs: number): boolean {
  return breaker.isPassable(nowMs) && engine.state().status === 'ready';
}

/** Whether a failure says something of the engine's health. A full queue is quick to say so and no illness; the rest is the client's. */
function isSignOfTrouble({ code, retryable }: EngineError): boolean {
  switch (code) {
    case 'engine_crashed':
    case 'model_unavailable':
      return true;
    case 'engine_failed':
      return retryable;
    default:
      return false;
  }
}

/** Lower is told rather: whether the run may succeed later comes before what is wrong with it, and that before an operator's trouble. */
function rankOf({ code, retryable }: EngineError): number {
  const PASSING: readonly RunErrorCode[] = ['engine_at_capacity', 'model_loading'];
  if (retryable) return PASSING.includes(code) ? 0 : 1;
  return code === 'context_length_exceeded' ? 2 : 3;
}

function mostUsefulOf(errors: readonly EngineError[]): EngineError {
  let best: EngineError | null = null;
  for (const error of errors) if (best === null || rankOf(error) < rankOf(best)) best = error;
  return best ?? new EngineError('model_unavailable', 'every engine of the model has failed lately', true);
}
