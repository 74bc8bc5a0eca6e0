/** What travels on the bus between API, workers and ledger. Messages are JSON values, never changed once published; prompts live only here. */
import { z } from 'zod';
import { COUNTED_LOCALLY, TokenUsageSchema } from './pricing.js';

const id = z.string().min(1).max(80);
const timeMs = z.number().int().nonnegative();
const nanos = z.string().regex(/^-?\d{1,30}$/);

export const ChatMessageSchema = z.strictObject({
  role: z.enum(['system', 'user', 'assistant', 'tool']),
  /** Text parts have been joined by the API. */
  content: z.string(),
  name: z.string().optional(),
});
export type ChatMessage = z.infer<typeof ChatMessageSchema>;

/** Every field is set: the API fills in the defaults. */
export const SamplingSchema = z.strictObject({
  temperature: z.number().min(0).max(2),
  topP: z.number().gt(0).max(1),
  /** 0 keeps every candidate. */
  topK: z.number().int().nonnegative(),
  minP: z.number().min(0).max(1),
  frequencyPenalty: z.number().min(-2).max(2),
  presencePenalty: z.number().min(-2).max(2),
  /** `null`: a random one. The same seed, model and prompt give the same answer. */
  seed: z.number().int().nullable(),
});
export type Sampling = z.infer<typeof SamplingSchema>;

/** API to worker: do this. Type `RunRequested`. */
export const RunRequestedSchema = z.strictObject({
  runId: id,
  accountId: id,
  /** Counts from 1; a repeated attempt supersedes the earlier ones. */
  attempt: z.number().int().positive(),
  /** The catalogue's model id. */
  model: z.string().max(200),
  input: z.strictObject({ kind: z.literal('chat'), messages: z.array(ChatMessageSchema).min(1) }),
  sampling: SamplingSchema,
  stop: z.array(z.string()),
  /** Derived from the hold; the engine never generates more. */
  outputTokensBudget: z.number().int().positive(),
  /** Whether deltas are wanted as they come; otherwise one `RunOutput` may carry the whole text. */
  stream: z.boolean(),
  /** `test` runs are served by the echo engine. */
  environment: z.enum(['live', 'test']),
  replyTopic: z.string(),
  deadlineMs: timeMs,
});
export type RunRequested = z.infer<typeof RunRequestedSchema>;

/** API to workers: stop this run; its result is reported as `cancelled`. Type `RunCancelRequested`. */
export const RunCancelRequestedSchema = z.strictObject({ runId: id });
export type RunCancelRequested = z.infer<typeof RunCancelRequestedSchema>;

/**
 * Names one engine's work on an attempt, uniquely for ever. A request that is delivered again may be run by two workers; what they generate
 * differs and is never mixed, because whoever reads it tells them apart by this. Empty on a final word that no engine spoke.
 */
const execution = z.string();

/**
 * Worker to the API's reply topic: the run has been taken. Sent where workers are processes of their own, so that the API knows whose loss it
 * would be. Type `RunStarted`.
 */
export const RunStartedSchema = z.strictObject({ runId: id, attempt: z.number().int().positive(), execution });
export type RunStarted = z.infer<typeof RunStartedSchema>;

/** Worker to the API's reply topic: text as it is generated. `index` counts from 0 within an execution. Type `RunOutput`. */
export const RunOutputSchema = z.strictObject({
  runId: id,
  attempt: z.number().int().positive(),
  execution,
  index: z.number().int().nonnegative(),
  text: z.string(),
});
export type RunOutput = z.infer<typeof RunOutputSchema>;

/**
 * Why a run failed. `engine_at_capacity` and `model_loading` are 503, `context_length_exceeded` is the client's 400, `engine_crashed`
 * and `engine_failed` may be tried again elsewhere, `deadline_exceeded`, `worker_lost`, `interrupted_by_restart` and `run_abandoned` end it.
 */
export const RUN_ERROR_CODES = [
  'engine_at_capacity',
  'model_loading',
  'model_unavailable',
  'context_length_exceeded',
  'engine_crashed',
  'engine_failed',
  'deadline_exceeded',
  'worker_lost',
  'interrupted_by_restart',
  'run_abandoned',
] as const;
export type RunErrorCode = (typeof RUN_ERROR_CODES)[number];

/**
 * Worker to the API's reply topic: this attempt did not succeed and nothing is settled yet. The API publishes another `RunRequested`
 * (while nothing has been streamed) or gives up by publishing `RunFinished` with outcome `failed`. If it is gone, the hold expires.
 * Type `RunAttemptFailed`.
 */
export const RunAttemptFailedSchema = z.strictObject({
  runId: id,
  attempt: z.number().int().positive(),
  execution,
  errorCode: z.enum(RUN_ERROR_CODES),
  /** For the log and, where it concerns the client's own input, for the answer. */
  message: z.string(),
  retryable: z.boolean(),
});
export type RunAttemptFailed = z.infer<typeof RunAttemptFailedSchema>;

/** To `RUN_RESULTS_TOPIC`: the final word on a run, which the ledger settles. Type `RunFinished`. */
export const RunFinishedSchema = z.strictObject({
  runId: id,
  accountId: id,
  attempt: z.number().int().nonnegative(),
  execution,
  outcome: z.enum(['completed', 'cancelled', 'failed']),
  finishReason: z.enum(['stop', 'length']).nullable(),
  usage: TokenUsageSchema,
  usageSource: z.literal(COUNTED_LOCALLY).optional(),
  errorCode: z.enum(RUN_ERROR_CODES).nullable(),
  /** Stable across model, quantisation and runtime; what really ran. */
  systemFingerprint: z.string().nullable(),
  /** Number of `RunOutput` messages of this execution, so that a reader knows it has them all. */
  outputs: z.number().int().nonnegative(),
  replyTopic: z.string(),
});
export type RunFinished = z.infer<typeof RunFinishedSchema>;

/** Ledger to the reply topic: the books have closed on this run. Type `RunSettled`. */
export const RunSettledSchema = z.strictObject({
  runId: id,
  accountId: id,
  outcome: z.enum(['completed', 'cancelled', 'failed', 'expired']),
  finishReason: z.enum(['stop', 'length']).nullable(),
  errorCode: z.string().nullable(),
  attempt: z.number().int().nonnegative(),
  execution,
  usage: TokenUsageSchema,
  systemFingerprint: z.string().nullable(),
  outputs: z.number().int().nonnegative(),
  heldNanos: nanos,
  chargedNanos: nanos,
  refundedNanos: nanos,
  availableNanos: nanos,
  /** Revision of the settlement in the account's stream, for reads that must see it. */
  revision: z.number().int().nonnegative(),
});
export type RunSettled = z.infer<typeof RunSettledSchema>;
