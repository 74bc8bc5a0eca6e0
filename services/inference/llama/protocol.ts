/**
 * What the engine and its child process say to each other over Node's IPC channel. Both ends are compiled from this file and nobody else can
 * write to the channel, so the types are the check. Runs go by a number of their own: it is short, and a repeated attempt has another one.
 */
import type {
  AnswerFormat,
  ChatMessage,
  FinishReason,
  Prompt,
  RunErrorCode,
  Sampling,
  TokenLogprob,
  ToolCallDelta,
  ToolUse,
} from '../../../events/contract/index.js';

/** How the child loads the model and divides the context. Handed over as its only argument, as JSON. */
export type LlamaModelConfig = {
  /** Path of the GGUF file. */
  readonly modelPath: string;
  /** Runs evaluated together. */
  readonly sequences: number;
  /** Prompt and answer of one run together; the model's own limit counts when it is less. */
  readonly contextTokens: number;
  /** Tokens in one decode, over all sequences. */
  readonly batchTokens: number;
  /** Threads of one decode. See docs/decisions/0002-llama-threads.md before raising it. */
  readonly threads: number;
  /** `public`: drive node-llama-cpp's public interface only, which is slower; for tests and as the way out when the binding changes. */
  readonly binding: 'auto' | 'public';
};

export type RunOrder = {
  readonly run: number;
  readonly messages: readonly ChatMessage[];
  readonly sampling: Sampling;
  readonly stop: readonly string[];
  readonly outputTokensBudget: number;
  readonly prompt?: Prompt;
  readonly toolUse?: ToolUse;
  readonly format?: AnswerFormat;
};

export type EmbeddingOrder = { readonly run: number; readonly inputs: readonly Prompt[]; readonly dimensions?: number };

export type ToChild =
  | { readonly kind: 'run'; readonly order: RunOrder }
  | { readonly kind: 'embed'; readonly order: EmbeddingOrder }
  | { readonly kind: 'cancel'; readonly run: number };

export type RunText = readonly [run: number, text: string, logprobs?: readonly TokenLogprob[]];
export type RunCalls = readonly [run: number, deltas: readonly ToolCallDelta[]];

export type RunEnding = {
  readonly run: number;
  readonly outcome: 'completed' | 'cancelled';
  readonly finishReason: FinishReason | null;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
};

export type RunFailure = { readonly run: number; readonly code: RunErrorCode; readonly message: string; readonly retryable: boolean };

/** Everything that one decode brought; one message however many runs took part. */
export type Step = {
  readonly kind: 'step';
  readonly texts: readonly RunText[];
  readonly calls?: readonly RunCalls[];
  readonly endings: readonly RunEnding[];
  readonly failures: readonly RunFailure[];
};

export type ModelFacts = {
  readonly systemFingerprint: string;
  readonly contextTokens: number;
  readonly sequences: number;
  /** Which way the batches go; see `native-batch.ts`. */
  readonly binding: 'native' | 'public';
};

export type FromChild =
  | { readonly kind: 'loading' /** 0 to 1. */; readonly progress: number }
  | { readonly kind: 'ready'; readonly facts: ModelFacts }
  /** Vectors as base64 of little-endian 32-bit floats: the channel speaks JSON. */
  | { readonly kind: 'embedded'; readonly run: number; readonly vectors: readonly string[]; readonly promptTokens: number }
  /** The model cannot be loaded; trying again would end the same way. */
  | { readonly kind: 'unusable'; readonly reason: string }
  | { readonly kind: 'log'; readonly level: 'warn' | 'error'; readonly message: string }
  | Step;
