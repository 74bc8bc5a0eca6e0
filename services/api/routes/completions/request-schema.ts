/** The body of `POST /v1/completions`: text goes to the model as it is, without a chat template. The same allow-list as for chat. */
import { z } from 'zod';
import { plainPromptTokensBound } from '../../../../events/contract/index.js';
import type { RunAsk } from '../../billed-runs/billed-run.js';
import { promptsOf, promptsSchema } from '../../billed-runs/prompts.js';
import { GENERATION_PARAMETERS, known, refuseUnsupported, samplingOf, stopSequencesOf } from '../../billed-runs/sampling-parameters.js';
import { refuse } from '../../refusals.js';

export const COMPLETIONS_PATH = '/v1/completions';
/** Prompts of one request. */
export const PROMPTS_MAX = 32;
/** Answers of one request, over all prompts: each takes a place in the engine's batch. */
export const ANSWERS_MAX = 64;
/** As OpenAI's documented bound. */
export const LOGPROBS_MAX = 5;

export const CompletionBody = z.object({
  ...GENERATION_PARAMETERS,
  prompt: promptsSchema(`Text, tokens, or at most ${PROMPTS_MAX} of either; each is answered and charged.`),
  logprobs: z.number().int().min(0).max(LOGPROBS_MAX).nullish().describe('How many of the likeliest tokens are told beside each one.'),
  best_of: known('Only 1; use n.'),
  echo: known('Only false.'),
  suffix: known('Not supported.'),
});
export type CompletionBody = z.infer<typeof CompletionBody>;

export type CompletionAsk = Omit<RunAsk, 'requestHash' | 'keyBoundTo'> & { readonly includeUsage: boolean };

const NEUTRAL = {
  best_of: (value: unknown) => value === 1,
  echo: (value: unknown) => value === false,
  suffix: (value: unknown) => value === '',
};

/** Throws a `RefusalError` that names the parameter. */
export function completionAskOf(body: CompletionBody): CompletionAsk {
  refuseUnsupported(body, NEUTRAL);
  const prompts = promptsOf(body.prompt, 'prompt', PROMPTS_MAX);
  const answersPerPrompt = body.n ?? 1;
  if (prompts.length * answersPerPrompt > ANSWERS_MAX) {
    const message = `${prompts.length} prompts with n ${answersPerPrompt} are more than the ${ANSWERS_MAX} answers that one request may have.`;
    throw refuse('invalid_value', { message, param: 'n' });
  }
  return {
    endpoint: COMPLETIONS_PATH,
    model: body.model,
    quantization: body.quantization ?? null,
    input: { kind: 'completion', prompts },
    sampling: samplingOf(body, body.logprobs ?? null),
    stop: stopSequencesOf(body.stop),
    prompts: prompts.length,
    answersPerPrompt,
    promptTokensBound: plainPromptTokensBound(prompts),
    promptParameter: 'prompt',
    output: { tokensAsked: body.max_tokens ?? null, parameter: 'max_tokens' },
    stream: body.stream ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
  };
}
