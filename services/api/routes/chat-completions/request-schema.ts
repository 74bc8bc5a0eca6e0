/**
 * The body of `POST /v1/chat/completions`. An allow-list: what is known and supported is passed on, what is known and not supported is refused
 * by name, what is unknown is dropped and never forwarded. `null` means the default; zero means zero.
 */
import { z } from 'zod';
import { promptTokensBound, type RunInput } from '../../../../events/contract/index.js';
import type { RunAsk } from '../../billed-runs/billed-run.js';
import {
  GENERATION_PARAMETERS,
  isEmptyArray,
  known,
  refuseUnsupported,
  samplingOf,
  stopSequencesOf,
} from '../../billed-runs/sampling-parameters.js';
import { refuse } from '../../refusals.js';
import { conversationOf, MESSAGES_MAX, MessageSchema } from './messages.js';
import { answerFormatOf, ResponseFormatSchema } from './response-format.js';
import { TOOL_PARAMETERS, toolUseOf } from './tools.js';

export const CHAT_COMPLETIONS_PATH = '/v1/chat/completions';
/** As OpenAI's documented bound. */
export const TOP_LOGPROBS_MAX = 20;

export const ChatCompletionBody = z.object({
  ...GENERATION_PARAMETERS,
  ...TOOL_PARAMETERS,
  messages: z.array(MessageSchema).min(1).max(MESSAGES_MAX),
  max_completion_tokens: z.number().int().min(1).nullish().describe('The newer name of max_tokens; it wins when both are given.'),
  response_format: ResponseFormatSchema,
  logprobs: z.boolean().nullish().describe("Whether each token's probability is told."),
  top_logprobs: z.number().int().min(0).max(TOP_LOGPROBS_MAX).nullish().describe('With logprobs: how many of the likeliest beside it.'),
  functions: known('Not supported; use tools.'),
  function_call: known('Not supported; use tool_choice.'),
  modalities: known('Only ["text"].'),
  audio: known('Not supported.'),
  prediction: known('Not supported.'),
  web_search_options: known('Not supported.'),
  reasoning_effort: known('Not supported.'),
});
export type ChatCompletionBody = z.infer<typeof ChatCompletionBody>;

/** What a run is asked for, and what only its answer needs to know. */
export type ChatAsk = Omit<RunAsk, 'requestHash' | 'keyBoundTo'> & { readonly includeUsage: boolean };

/** Throws a `RefusalError` that names the parameter when the body asks for what is not supported. */
export function chatAskOf(body: ChatCompletionBody): ChatAsk {
  refuseUnsupported(body, NEUTRAL);
  const messages = conversationOf(body.messages);
  const toolUse = toolUseOf(body);
  const format = answerFormatOf(body.response_format);
  const input: RunInput = {
    kind: 'chat',
    messages,
    ...(toolUse === null ? {} : { toolUse }),
    ...(format === null ? {} : { format }),
  };
  return {
    endpoint: CHAT_COMPLETIONS_PATH,
    model: body.model,
    quantization: body.quantization ?? null,
    input,
    sampling: samplingOf(body, logprobsOf(body)),
    stop: stopSequencesOf(body.stop),
    prompts: 1,
    answersPerPrompt: body.n ?? 1,
    promptTokensBound: promptTokensBound(messages, toolUse ?? undefined),
    promptParameter: 'messages',
    output: {
      tokensAsked: body.max_completion_tokens ?? body.max_tokens ?? null,
      parameter: body.max_completion_tokens == null ? 'max_tokens' : 'max_completion_tokens',
    },
    stream: body.stream ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
  };
}

/** Values that ask for nothing beyond the default are fine even where the parameter is not supported. */
const NEUTRAL = {
  functions: isEmptyArray,
  function_call: (value: unknown) => value === 'none' || value === 'auto',
  modalities: (value: unknown) => Array.isArray(value) && value.length === 1 && value[0] === 'text',
  audio: () => false,
  prediction: () => false,
  web_search_options: () => false,
  reasoning_effort: () => false,
};

function logprobsOf({ logprobs, top_logprobs }: ChatCompletionBody): number | null {
  if (logprobs === true) return top_logprobs ?? 0;
  if (top_logprobs !== undefined && top_logprobs !== null && top_logprobs > 0) {
    throw refuse('invalid_value', { message: 'top_logprobs is only allowed when logprobs is true.', param: 'top_logprobs' });
  }
  return null;
}
