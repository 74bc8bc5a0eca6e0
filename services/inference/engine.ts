/** The Engine port: turns one run into tokens, many runs at a time. Adapters pass `engine-contract.ts`. */
import {
  type ChatMessage,
  type FinishReason,
  NO_USAGE,
  type RunErrorCode,
  type Sampling,
  type TokenUsage,
  type UsageSource,
} from '../../events/contract/index.js';

export type EngineRun = {
  readonly runId: string;
  readonly messages: readonly ChatMessage[];
  readonly sampling: Sampling;
  /** Generation ends before the first of these; they are never part of the text. */
  readonly stop: readonly string[];
  readonly outputTokensBudget: number;
  /** Called with text as it is generated; never with an empty string, never after the run's promise settled. */
  readonly onText: (text: string) => void;
  /** Aborting ends the run as `cancelled` within a second, with what was generated so far counted. */
  readonly signal: AbortSignal;
};

export type EngineResult = {
  readonly outcome: 'completed' | 'cancelled';
  /** `null` when cancelled. */
  readonly finishReason: FinishReason | null;
  /** Exact, from the engine, unless `usageSource` says otherwise. */
  readonly usage: TokenUsage;
  readonly usageSource?: 'engine' | UsageSource;
  /** What ran this very run, where an engine stands for several; the engine's own otherwise. */
  readonly systemFingerprint?: string;
};

/** A run that was cancelled before anything was generated. */
export const CANCELLED_BEFORE_START: EngineResult = { outcome: 'cancelled', finishReason: null, usage: NO_USAGE };

/** A run that ended without a result. Nothing is charged for it. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  constructor(
    readonly code: RunErrorCode,
    message: string,
    /** Whether another attempt may succeed. */
    readonly retryable: boolean,
  ) {
    super(message);
  }
}

export type EngineState =
  | { readonly status: 'loading' /** 0 to 1. */; readonly progress: number }
  | { readonly status: 'ready' }
  | { readonly status: 'failed'; readonly reason: string };

export interface Engine {
  /** Rejects with `EngineError`: `engine_at_capacity` beyond the queue's bound, `model_loading`, `context_length_exceeded`, … */
  run(run: EngineRun): Promise<EngineResult>;
  state(): EngineState;
  /** Resolves when loading has ended, well or not; absent where nothing is loaded. */
  whenLoaded?(): Promise<EngineState>;
  /** Stable across model, quantisation and runtime, such as `fp_tiny_q8_llamacpp-b7411`; says honestly what runs. */
  readonly systemFingerprint: string;
  /** Runs under way and waiting; for gauges and tests. */
  load(): { readonly active: number; readonly queued: number };
  /** Ends every run as failed and releases all resources. */
  close(): Promise<void>;
}
