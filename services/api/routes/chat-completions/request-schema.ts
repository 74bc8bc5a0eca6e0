/**
 * The body of `POST /v1/chat/completions`. An allow-list: what is known and supported is passed on, what is known and not supported is refused
 * by name, what is unknown is dropped and never forwarded. `null` means the default; zero means zero.
 */
import { z } from 'zod';
import type { ChatMessage, Sampling } from '../../../../events/contract/index.js';
import { refuse } from '../../refusals.js';

export const MESSAGES_MAX = 2_048;
export const CONTENT_PARTS_MAX = 1_024;
export const STOP_SEQUENCES_MAX = 4;
export const STOP_CHARACTERS_MAX = 256;
const MODEL_CHARACTERS_MAX = 200;
const NAME_CHARACTERS_MAX = 64;
const TOP_K_MAX = 1_000;
/** The nucleus of `top_p: 0` is the single most likely token; the sampler wants it above zero. */
const TOP_P_OF_ZERO = 1e-6;

const penalty = z.number().min(-2).max(2).nullish();
const stopSequence = z.string().max(STOP_CHARACTERS_MAX);
const known = (description: string) => z.unknown().optional().describe(description);

const MessageSchema = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool', 'function']),
  content: z
    .union([z.string(), z.array(z.object({ type: z.string(), text: z.string().optional() })).max(CONTENT_PARTS_MAX), z.null()], {
      error: 'must be a string or an array of text parts',
    })
    .optional(),
  name: z.string().max(NAME_CHARACTERS_MAX).nullish(),
  tool_calls: known('Not supported yet.'),
  function_call: known('Not supported.'),
  audio: known('Not supported.'),
});

export const ChatCompletionBody = z.object({
  model: z.string().min(1).max(MODEL_CHARACTERS_MAX),
  messages: z.array(MessageSchema).min(1).max(MESSAGES_MAX),
  temperature: z.number().min(0).max(2).nullish().describe('Default 1.'),
  top_p: z.number().min(0).max(1).nullish().describe('Default 1.'),
  top_k: z.number().int().min(0).max(TOP_K_MAX).nullish().describe('0, the default, keeps every candidate.'),
  min_p: z.number().min(0).max(1).nullish().describe('Default 0.'),
  max_tokens: z.number().int().min(1).nullish().describe('Without it the model may use its maximum, as far as the balance affords.'),
  max_completion_tokens: z.number().int().min(1).nullish().describe('The newer name of max_tokens; it wins when both are given.'),
  stop: z
    .union([stopSequence, z.array(stopSequence).max(STOP_SEQUENCES_MAX)], {
      error: `must be a string or an array of at most ${STOP_SEQUENCES_MAX} strings of at most ${STOP_CHARACTERS_MAX} characters`,
    })
    .nullish(),
  frequency_penalty: penalty,
  presence_penalty: penalty,
  seed: z.number().int().nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  n: known('Only 1.'),
  logprobs: known('Only false.'),
  response_format: z.object({ type: z.string() }).nullish().describe('Only {"type": "text"} for now.'),
  top_logprobs: known('Not supported.'),
  logit_bias: known('Not supported.'),
  tools: known('Not supported yet.'),
  tool_choice: known('Only "none" for now.'),
  functions: known('Not supported.'),
  function_call: known('Only "none".'),
  modalities: known('Only ["text"].'),
  audio: known('Not supported.'),
  prediction: known('Not supported.'),
  web_search_options: known('Not supported.'),
  reasoning_effort: known('Not supported.'),
  quantization: known('Not supported yet.'),
});
export type ChatCompletionBody = z.infer<typeof ChatCompletionBody>;

/** The request as the rest of the API sees it: every default filled in. */
export type ChatRequest = {
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  readonly sampling: Sampling;
  readonly stop: readonly string[];
  /** `null`: the client did not say. */
  readonly outputTokensAsked: number | null;
  /** Which parameter said so. */
  readonly outputTokensParameter: 'max_tokens' | 'max_completion_tokens';
  readonly stream: boolean;
  readonly includeUsage: boolean;
};

/** Throws a `RefusalError` that names the parameter when the body asks for what is not supported. */
export function chatRequestOf(body: ChatCompletionBody): ChatRequest {
  refuseUnsupported(body);
  const topP = body.top_p ?? 1;
  return {
    model: body.model,
    messages: body.messages.map(chatMessageOf),
    sampling: {
      temperature: body.temperature ?? 1,
      topP: topP === 0 ? TOP_P_OF_ZERO : topP,
      topK: body.top_k ?? 0,
      minP: body.min_p ?? 0,
      frequencyPenalty: body.frequency_penalty ?? 0,
      presencePenalty: body.presence_penalty ?? 0,
      seed: body.seed ?? null,
    },
    stop: stopSequences(body.stop),
    outputTokensAsked: body.max_completion_tokens ?? body.max_tokens ?? null,
    outputTokensParameter: body.max_completion_tokens == null ? 'max_tokens' : 'max_completion_tokens',
    stream: body.stream ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
  };
}

/** Values that ask for nothing beyond the default are fine even where the parameter is not supported. */
const NEUTRAL: Readonly<Partial<Record<keyof ChatCompletionBody, (value: unknown) => boolean>>> = {
  n: (value) => value === 1,
  logprobs: (value) => value === false,
  top_logprobs: (value) => value === 0,
  logit_bias: isEmptyObject,
  tools: isEmptyArray,
  tool_choice: (value) => value === 'none' || value === 'auto',
  functions: isEmptyArray,
  function_call: (value) => value === 'none' || value === 'auto',
  modalities: (value) => Array.isArray(value) && value.length === 1 && value[0] === 'text',
  audio: () => false,
  prediction: () => false,
  web_search_options: () => false,
  reasoning_effort: () => false,
  quantization: () => false,
};
const NEUTRAL_ENTRIES = Object.entries(NEUTRAL) as [keyof ChatCompletionBody, (value: unknown) => boolean][];

function refuseUnsupported(body: ChatCompletionBody): void {
  for (const [name, isNeutral] of NEUTRAL_ENTRIES) {
    const value = body[name];
    if (value !== undefined && value !== null && !isNeutral(value)) throw unsupported(name);
  }
  const format = body.response_format?.type;
  if (format !== undefined && format !== 'text') {
    throw unsupported('response_format', `response_format of type "${format.slice(0, 40)}" is not supported yet; only "text" is.`);
  }
}

function chatMessageOf(message: ChatCompletionBody['messages'][number], index: number): ChatMessage {
  const place = `messages[${index}]`;
  for (const name of ['tool_calls', 'function_call', 'audio'] as const) {
    const value = message[name];
    if (value !== undefined && value !== null && !isEmptyArray(value)) throw unsupported(`${place}.${name}`);
  }
  const content = textOf(message.content, place);
  const { role } = message;
  if (role === 'tool' || role === 'function') throw unsupported(`${place}.role`, `Messages with role "${role}" are not supported yet.`);
  const name = message.name ?? undefined;
  return { role: role === 'developer' ? 'system' : role, content, ...(name === undefined ? {} : { name }) };
}

/** Text parts are joined as they are; anything but text is refused by its type. */
function textOf(content: ChatCompletionBody['messages'][number]['content'], place: string): string {
  if (typeof content === 'string') return content;
  if (content === undefined || content === null) {
    throw refuse('invalid_parameter', {
      message: `${place}.content must be a string or an array of text parts.`,
      param: `${place}.content`,
    });
  }
  let text = '';
  for (const [index, part] of content.entries()) {
    const param = `${place}.content[${index}]`;
    if (part.type !== 'text') {
      const message = `Content parts of type "${part.type.slice(0, 40)}" are not supported; only "text" is.`;
      throw unsupported(`${param}.type`, message);
    }
    if (part.text === undefined) throw refuse('invalid_parameter', { message: `${param}.text must be a string.`, param: `${param}.text` });
    text += part.text;
  }
  return text;
}

/** An empty stop sequence would end every answer before it began. */
function stopSequences(stop: ChatCompletionBody['stop']): readonly string[] {
  if (stop === undefined || stop === null) return [];
  const list = typeof stop === 'string' ? [stop] : stop;
  if (list.includes('')) throw refuse('invalid_value', { message: 'stop must not contain an empty string.', param: 'stop' });
  return list;
}

function unsupported(param: string, message = `The parameter ${param} is not supported.`) {
  return refuse('unsupported_parameter', { message, param });
}

function isEmptyArray(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

function isEmptyObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}
