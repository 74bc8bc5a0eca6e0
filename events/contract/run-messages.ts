/** What travels on the bus between API, workers and ledger. Messages are JSON values, never changed once published; prompts live only here. */
import { z } from 'zod';
import { FINISH_REASONS } from './account-events.js';
import { COUNTED_LOCALLY, TokenUsageSchema } from './pricing.js';

/** Of the audio that speech engines hear: mono, 16 bits. */
export const SPEECH_SAMPLES_PER_SECOND = 16_000;

const id = z.string().min(1).max(80);
const timeMs = z.number().int().nonnegative();
const nanos = z.string().regex(/^-?\d{1,30}$/);

export const ToolCallSchema = z.strictObject({
  id: z.string().min(1).max(80),
  name: z.string().min(1).max(64),
  /** JSON text, as the model wrote it. */
  arguments: z.string(),
});
export type ToolCall = z.infer<typeof ToolCallSchema>;

export const ChatMessageSchema = z.strictObject({
  role: z.enum(['system', 'user', 'assistant', 'tool']),
  /** Text parts have been joined by the API. */
  content: z.string(),
  name: z.string().optional(),
  /** What the assistant asked for in an earlier turn. */
  toolCalls: z.array(ToolCallSchema).min(1).optional(),
  /** On role `tool`: which of those this is the result of. */
  toolCallId: z.string().optional(),
});
export type ChatMessage = z.infer<typeof ChatMessageSchema>;

export const ToolSchema = z.strictObject({
  name: z.string().min(1).max(64),
  description: z.string().optional(),
  /** JSON Schema of the arguments: an object. */
  parameters: z.record(z.string(), z.json()),
});
export type Tool = z.infer<typeof ToolSchema>;

/** What the model may call. `required`: at least one call; `{name}`: this one. There is no choice of `none`: then no tools are sent. */
export const ToolUseSchema = z.strictObject({
  tools: z.array(ToolSchema).min(1),
  choice: z.union([z.enum(['auto', 'required']), z.strictObject({ name: z.string() })]),
  /** `false`: one call at most. */
  parallel: z.boolean(),
});
export type ToolUse = z.infer<typeof ToolUseSchema>;

/** What the text of an answer is held to by a grammar while it is generated. */
export const AnswerFormatSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('json_object') }),
  z.strictObject({ kind: z.literal('json_schema'), schema: z.record(z.string(), z.json()) }),
]);
export type AnswerFormat = z.infer<typeof AnswerFormatSchema>;

/** Text, or tokens of the model's vocabulary. */
const PromptSchema = z.union([z.string(), z.array(z.number().int().nonnegative()).min(1)]);
export type Prompt = z.infer<typeof PromptSchema>;

/** What a run works on. Of several prompts each gets its own answers; embeddings are one vector an input. */
export const RunInputSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('chat'),
    messages: z.array(ChatMessageSchema).min(1),
    toolUse: ToolUseSchema.optional(),
    format: AnswerFormatSchema.optional(),
  }),
  z.strictObject({ kind: z.literal('completion'), prompts: z.array(PromptSchema).min(1) }),
  z.strictObject({
    kind: z.literal('embedding'),
    inputs: z.array(PromptSchema).min(1),
    dimensions: z.number().int().positive().optional(),
  }),
  z.strictObject({
    kind: z.literal('transcription'),
    /** Names the decoded audio in the store that the API and its workers share: 16 kHz mono, 16-bit little-endian samples. */
    mediaId: id,
    /** Where a worker in another process gets it: the base URL of the API instance that took the request. */
    mediaUrl: z.string().optional(),
    usage: z.strictObject({ bytes: z.number().int().nonnegative(), milliseconds: z.number().int().nonnegative() }),
    language: z.string().max(20).optional(),
    prompt: z.string().optional(),
  }),
]);
export type RunInput = z.infer<typeof RunInputSchema>;

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
  /** Added to tokens' logits: [token, bias] with a bias of -100 to 100. */
  logitBias: z.array(z.tuple([z.number().int().nonnegative(), z.number().min(-100).max(100)])).optional(),
  /** How many of the likeliest tokens are reported with each generated one, 0 for none beside itself; absent: no probabilities. */
  logprobs: z.number().int().min(0).max(20).optional(),
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
  /** Of the model's variants; the only one where absent. */
  quantization: z.string().max(20).optional(),
  input: RunInputSchema,
  sampling: SamplingSchema,
  /** Answers wanted for each prompt; 1 where absent. They are numbered prompt by prompt. */
  answers: z.number().int().positive().optional(),
  stop: z.array(z.string()),
  /** Derived from the hold; all answers together never get more, and each gets an equal share. 0 for embeddings and transcriptions. */
  outputTokensBudget: z.number().int().nonnegative(),
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

const TokenChance = { token: z.string(), bytes: z.array(z.number().int()), logprob: z.number() };
/** Natural logarithm of a generated token's probability, before sampling changed anything, with the likeliest ones beside it. */
export const TokenLogprobSchema = z.strictObject({ ...TokenChance, top: z.array(z.strictObject(TokenChance)) });
export type TokenLogprob = z.infer<typeof TokenLogprobSchema>;

/** Part of a tool call. The first of a call has `id` and `name`; `argumentsText` continues what came before. */
export const ToolCallDeltaSchema = z.strictObject({
  /** Which call of this answer, from 0. */
  call: z.number().int().nonnegative(),
  id: z.string().optional(),
  name: z.string().optional(),
  argumentsText: z.string(),
});
export type ToolCallDelta = z.infer<typeof ToolCallDeltaSchema>;

/**
 * Worker to the API's reply topic: what has been generated. `index` counts from 0 within an execution. Type `RunOutput`. A transcription's text is
 * the JSON text of a `Transcript` (services/inference/engine.ts), all outputs joined.
 */
export const RunOutputSchema = z.strictObject({
  runId: id,
  attempt: z.number().int().positive(),
  execution,
  index: z.number().int().nonnegative(),
  text: z.string(),
  /** Which of several answers, or which input of an embedding; 0 where absent. */
  answer: z.number().int().nonnegative().optional(),
  toolCalls: z.array(ToolCallDeltaSchema).optional(),
  logprobs: z.array(TokenLogprobSchema).optional(),
  /** The answer ends here. Set on the last output of each answer of a run that has several, and absent otherwise. */
  finishReason: z.enum(FINISH_REASONS).optional(),
  /** Base64 of little-endian 32-bit floats, of unit length. */
  embedding: z.string().optional(),
});
export type RunOutput = z.infer<typeof RunOutputSchema>;

/**
 * Why a run failed. `engine_at_capacity` and `model_loading` are 503, `context_length_exceeded` and `invalid_prompt` are the client's 400, `engine_crashed`
 * and `engine_failed` may be tried again elsewhere, `deadline_exceeded`, `worker_lost`, `interrupted_by_restart` and `run_abandoned` end it.
 */
export const RUN_ERROR_CODES = [
  'engine_at_capacity',
  'model_loading',
  'model_unavailable',
  'context_length_exceeded',
  'invalid_prompt',
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
  finishReason: z.enum(FINISH_REASONS).nullable(),
  usage: TokenUsageSchema,
  usageSource: z.literal(COUNTED_LOCALLY).optional(),
  errorCode: z.enum(RUN_ERROR_CODES).nullable(),
  /** Stable across model, quantisation and runtime; what really ran. */
  systemFingerprint: z.string().nullable(),
  /** Number of `RunOutput` messages of this execution, so that a reader knows it has them all. */
  outputs: z.number().int().nonnegative(),
  /** Of everything that was put out; see `answer-hash.ts`. Absent where nothing was. */
  responseHash: z.string().optional(),
  replyTopic: z.string(),
});
export type RunFinished = z.infer<typeof RunFinishedSchema>;

/** Ledger to the reply topic: the books have closed on this run. Type `RunSettled`. */
export const RunSettledSchema = z.strictObject({
  runId: id,
  accountId: id,
  outcome: z.enum(['completed', 'cancelled', 'failed', 'expired']),
  finishReason: z.enum(FINISH_REASONS).nullable(),
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
