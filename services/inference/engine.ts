/** The Engine port: turns one run into tokens, many runs at a time. Adapters pass `engine-contract.ts`. */
import {
  type AnswerFormat,
  type ChatMessage,
  type FinishReason,
  NO_USAGE,
  type Prompt,
  type RunErrorCode,
  type Sampling,
  type TokenLogprob,
  type TokenUsage,
  type ToolCallDelta,
  type ToolUse,
  type UsageSource,
} from '../../events/contract/index.js';

/** One answer to one prompt. A run that asks for several answers becomes several of these; the worker sees to it. */
export type EngineRun = {
  readonly runId: string;
  /** A conversation; empty when there is a `prompt`. */
  readonly messages: readonly ChatMessage[];
  /** Goes to the model as it is, without a chat template. */
  readonly prompt?: Prompt;
  readonly toolUse?: ToolUse;
  readonly format?: AnswerFormat;
  readonly sampling: Sampling;
  /** Generation ends before the first of these; they are never part of the text. */
  readonly stop: readonly string[];
  readonly outputTokensBudget: number;
  /** Called with text as it is generated; never with an empty string, never after the run's promise settled. */
  readonly onText: (text: string, logprobs?: readonly TokenLogprob[]) => void;
  /** Called with parts of tool calls as they are generated; given by whoever gives `toolUse`. */
  readonly onToolCalls?: (deltas: readonly ToolCallDelta[]) => void;
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

export type EmbeddingRun = {
  readonly runId: string;
  readonly inputs: readonly Prompt[];
  /** Fewer than the model's own, where it allows that: the vector is cut and brought to unit length again. */
  readonly dimensions?: number;
  readonly signal: AbortSignal;
};

/** One vector of unit length an input. `usage.completionTokens` is 0; the rest as in `EngineResult`. */
export type EmbeddingResult = { readonly vectors: readonly Float32Array[] } & Pick<
  EngineResult,
  'usage' | 'usageSource' | 'systemFingerprint'
>;

export type TranscriptionRun = {
  readonly runId: string;
  /** 16 kHz mono, 16-bit little-endian. */
  readonly samples: Buffer;
  readonly language?: string;
  readonly prompt?: string;
  readonly temperature: number;
  readonly signal: AbortSignal;
};

export type TranscriptSegment = { readonly startMs: number; readonly endMs: number; readonly text: string };
/** `language` is what was detected or asked for, as ISO 639-1. */
export type Transcript = { readonly text: string; readonly language: string; readonly segments: readonly TranscriptSegment[] };

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
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export type EngineState =
  | { readonly status: 'loading' /** 0 to 1. */; readonly progress: number }
  | { readonly status: 'ready' }
  | { readonly status: 'failed'; readonly reason: string };

export interface Engine {
  /** Rejects with `EngineError`: `engine_at_capacity` beyond the queue's bound, `model_loading`, `context_length_exceeded`, … */
  run(run: EngineRun): Promise<EngineResult>;
  /** Absent where the engine makes no embeddings. Rejects as `run` does, and when it is aborted: nothing is half an embedding. */
  embed?(run: EmbeddingRun): Promise<EmbeddingResult>;
  /** Absent where the engine does not hear. Rejects as `run` does, and when it is aborted. */
  transcribe?(run: TranscriptionRun): Promise<Transcript>;
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
