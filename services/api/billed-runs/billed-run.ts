/**
 * What a route that charges hands in, and what it gets back to answer with. The path between (hold, run, settlement, replays) is the same for
 * all of them: `serve-billed-run.ts`. A route parses its body into a `RunAsk` and says with an `AnswerShape` how its answers look.
 */
import type {
  AudioUsage,
  FinishReason,
  Nanos,
  RunInput,
  RunOutput,
  Sampling,
  TokenLogprob,
  TokenUsage,
  ToolCall,
} from '../../../events/contract/index.js';

/** Of runs in which nothing is sampled. */
export const NO_SAMPLING: Sampling = {
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  frequencyPenalty: 0,
  presencePenalty: 0,
  seed: null,
};

/** How long the answers may be. */
export type OutputAsk = {
  /** Tokens of each answer; `null`: the client did not say. */
  readonly tokensAsked: number | null;
  /** The parameter that said so, or would have. */
  readonly parameter: string;
};

/** A request as the rest of the way sees it: every default filled in. */
export type RunAsk = {
  /** Idempotency keys are bound to it: the route's path. */
  readonly endpoint: string;
  readonly model: string;
  /** Which of the model's variants; `null`: its default. */
  readonly quantization: string | null;
  readonly input: RunInput;
  readonly sampling: Sampling;
  readonly stop: readonly string[];
  /** Prompts, or inputs: each has a context of its own. */
  readonly prompts: number;
  /** Answers wanted for each of them. */
  readonly answersPerPrompt: number;
  /** Upper bound of all prompts' tokens; 0 where nothing is read. */
  readonly promptTokensBound: number;
  /** Which parameter holds them, for refusals. */
  readonly promptParameter: string;
  /** `null` where nothing is generated: embeddings and transcriptions. */
  readonly output: OutputAsk | null;
  /** The audio to be transcribed, as measured. */
  readonly audio?: AudioUsage;
  readonly stream: boolean;
  /** SHA-256 of the body as it came, in hex. */
  readonly requestHash: string;
  /** What an idempotency key is bound to: the body as it came, or what is left of it without what every try makes anew (multipart boundaries). */
  readonly keyBoundTo: Buffer;
};

/** How many answers there will be, numbered prompt by prompt. */
export function answersOfAsk(ask: Pick<RunAsk, 'prompts' | 'answersPerPrompt'>): number {
  return ask.prompts * ask.answersPerPrompt;
}

/** Part of one answer as it comes. */
export type AnswerPart = Pick<RunOutput, 'text' | 'answer' | 'toolCalls' | 'logprobs' | 'embedding' | 'finishReason'>;

/** One answer as a whole. */
export type Answer = {
  readonly text: string;
  readonly toolCalls: readonly ToolCall[];
  /** `null` where none were reported. */
  readonly logprobs: readonly TokenLogprob[] | null;
  /** Base64 of little-endian 32-bit floats. */
  readonly embedding: string | null;
  /** `null` where nothing was generated. */
  readonly finishReason: FinishReason | null;
};

/** What is known of a run before it has said anything. */
export type OpenedRun = {
  readonly runId: string;
  readonly model: string;
  /** Unix seconds. */
  readonly createdAtSeconds: number;
  readonly systemFingerprint: string | null;
  /** Where it runs; only where the preset has pools to tell of. */
  readonly pool?: string | undefined;
};

/** Everything an answer says, as it is kept for replays. The books have closed on the run. */
export type CompletedRun = OpenedRun & {
  /** As many as were asked for; empty for a stream whose parts have been sent already and that nobody will replay. */
  readonly answers: readonly Answer[];
  /** Of the run; of several answers each has its own. */
  readonly finishReason: FinishReason | null;
  readonly usage: TokenUsage;
  readonly chargedNanos: Nanos;
};

/** Writes the events of one stream. */
export type StreamShape = {
  /** Everything before the first part. */
  readonly opening: () => string;
  readonly part: (part: AnswerPart) => string;
  /** From the last part to `[DONE]`. Written only when the books have closed on the run: the charge it shows is a charge that was made. */
  readonly closing: (run: CompletedRun, replayed: boolean) => string;
};

/** How a route's answers look. */
export type AnswerShape = {
  /** Of plain answers. Replays of `application/json` say in the body too that they are ones. */
  readonly contentType: string;
  /** The text of a plain answer; a promise where it is long enough to be written in several turns. */
  readonly body: (run: CompletedRun) => string | Promise<string>;
  /** Absent where the route does not stream. */
  readonly stream?: (run: OpenedRun) => StreamShape;
  /** Whether the answers are all there; absent where an empty one is an answer too. What is not whole was charged in vain and is told so. */
  readonly isWhole?: (run: CompletedRun) => boolean;
};
