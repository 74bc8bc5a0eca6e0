/** Parameters that every route which generates text has in common, as they come in a body and as the engines want them. */
import { z } from 'zod';
import type { Sampling } from '../../../events/contract/index.js';
import { refuse } from '../refusals.js';

export const MODEL_CHARACTERS_MAX = 200;
export const QUANTIZATION_CHARACTERS_MAX = 20;
export const STOP_SEQUENCES_MAX = 4;
export const STOP_CHARACTERS_MAX = 256;
/** Answers to one prompt; each takes a place in the engine's batch. */
export const ANSWERS_PER_PROMPT_MAX = 8;
/** As OpenAI's documented bound. */
export const LOGIT_BIASES_MAX = 300;
const TOP_K_MAX = 1_000;
/** The nucleus of `top_p: 0` is the single most likely token; the sampler wants it above zero. */
const TOP_P_OF_ZERO = 1e-6;
/** No vocabulary is nearly as large. */
const TOKEN_ID_MAX = 2 ** 31 - 1;
const TOKEN_ID = /^\d{1,10}$/;

const penalty = z.number().min(-2).max(2).nullish();
const stopSequence = z.string().max(STOP_CHARACTERS_MAX);

export const tokenId = z.number().int().min(0).max(TOKEN_ID_MAX);

/** A parameter that is known here and not served: it is refused by name rather than dropped. */
export const known = (description: string) => z.unknown().optional().describe(description);

export const GENERATION_PARAMETERS = {
  model: z.string().min(1).max(MODEL_CHARACTERS_MAX),
  quantization: z
    .string()
    .min(1)
    .max(QUANTIZATION_CHARACTERS_MAX)
    .nullish()
    .describe('Which variant of the model; the cheapest where absent.'),
  temperature: z.number().min(0).max(2).nullish().describe('Default 1.'),
  top_p: z.number().min(0).max(1).nullish().describe('Default 1.'),
  top_k: z.number().int().min(0).max(TOP_K_MAX).nullish().describe('0, the default, keeps every candidate.'),
  min_p: z.number().min(0).max(1).nullish().describe('Default 0.'),
  max_tokens: z
    .number()
    .int()
    .min(1)
    .nullish()
    .describe('Of each answer. Without it the model may use its maximum, as far as the balance affords.'),
  stop: z
    .union([stopSequence, z.array(stopSequence).max(STOP_SEQUENCES_MAX)], {
      error: `must be a string or an array of at most ${STOP_SEQUENCES_MAX} strings of at most ${STOP_CHARACTERS_MAX} characters`,
    })
    .nullish(),
  frequency_penalty: penalty,
  presence_penalty: penalty,
  seed: z.number().int().nullish(),
  logit_bias: z
    .record(z.string(), z.number().min(-100).max(100))
    .nullish()
    .describe(`Token ids to what is added to their logits; at most ${LOGIT_BIASES_MAX}.`),
  n: z.number().int().min(1).max(ANSWERS_PER_PROMPT_MAX).nullish().describe('Answers to each prompt; every one is charged. Default 1.'),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
};

const GenerationParameters = z.object(GENERATION_PARAMETERS);
type GenerationParameters = z.infer<typeof GenerationParameters>;

/** `logprobs`: how many likely tokens are reported beside each one; `null` for none at all. Throws a `RefusalError`. */
export function samplingOf(body: GenerationParameters, logprobs: number | null): Sampling {
  const topP = body.top_p ?? 1;
  const logitBias = logitBiasOf(body.logit_bias);
  return {
    temperature: body.temperature ?? 1,
    topP: topP === 0 ? TOP_P_OF_ZERO : topP,
    topK: body.top_k ?? 0,
    minP: body.min_p ?? 0,
    frequencyPenalty: body.frequency_penalty ?? 0,
    presencePenalty: body.presence_penalty ?? 0,
    seed: body.seed ?? null,
    ...(logitBias.length === 0 ? {} : { logitBias }),
    ...(logprobs === null ? {} : { logprobs }),
  };
}

/** An empty stop sequence would end every answer before it began. */
export function stopSequencesOf(stop: GenerationParameters['stop']): readonly string[] {
  if (stop === undefined || stop === null) return [];
  const list = typeof stop === 'string' ? [stop] : stop;
  if (list.includes('')) throw refuse('invalid_value', { message: 'stop must not contain an empty string.', param: 'stop' });
  return list;
}

export function unsupported(param: string, message = `The parameter ${param} is not supported.`) {
  return refuse('unsupported_parameter', { message, param });
}

export function isEmptyArray(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

/** Refuses what is known and not served, unless it asks for nothing beyond the default. */
export function refuseUnsupported<Body extends object>(
  body: Body,
  neutral: Readonly<Partial<Record<keyof Body & string, (value: unknown) => boolean>>>,
): void {
  for (const name of Object.keys(neutral) as (keyof Body & string)[]) {
    const value = body[name];
    if (value !== undefined && value !== null && neutral[name]?.(value) !== true) throw unsupported(name);
  }
}

function logitBiasOf(biases: GenerationParameters['logit_bias']): [number, number][] {
  const entries = Object.entries(biases ?? {});
  const param = 'logit_bias';
  if (entries.length > LOGIT_BIASES_MAX) {
    throw refuse('invalid_value', { message: `logit_bias may name at most ${LOGIT_BIASES_MAX} tokens.`, param });
  }
  return entries.map(([token, bias]) => {
    if (!TOKEN_ID.test(token) || Number(token) > TOKEN_ID_MAX) {
      throw refuse('invalid_value', { message: 'logit_bias must map token ids to numbers from -100 to 100.', param });
    }
    return [Number(token), bias];
  });
}
