/** `POST /v1/completions`: the legacy endpoint, over the same way as chat. */
import { z } from 'zod';
import { FINISH_REASONS } from '../../../../events/contract/index.js';
import type { BilledRunDeps } from '../../billed-runs/answer-run.js';
import { type AnswerStyle, metadataSchemas, UsageSchema } from '../../billed-runs/run-metadata.js';
import { boundToBody, serveBilledRun } from '../../billed-runs/serve-billed-run.js';
import { defineRoute, type RouteDefinition } from '../../route.js';
import { COMPLETIONS_PATH, CompletionBody, completionAskOf } from './request-schema.js';
import { textCompletionShape } from './text-completion.js';

export function completionsRoutes(deps: BilledRunDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'post',
      path: COMPLETIONS_PATH,
      operationId: 'createCompletion',
      summary: 'Continue texts, plain or streamed',
      tag: 'Completions',
      policy: 'project_key',
      billed: true,
      body: CompletionBody,
      responses: {
        200: {
          description: 'The completions, prompt by prompt; with `stream: true` server-sent events of the same object.',
          schema: textCompletionSchema(deps.preset),
        },
      },
      handle: (context, { body }) => {
        const ask = completionAskOf(body);
        return serveBilledRun(deps, context, { ...ask, ...boundToBody(context.rawBody) }, textCompletionShape(ask, deps.preset));
      },
    }),
  ];
}

function textCompletionSchema(style: AnswerStyle): z.ZodType {
  const logprobs = z.object({
    tokens: z.array(z.string()),
    token_logprobs: z.array(z.number()),
    top_logprobs: z.array(z.record(z.string(), z.number())),
    text_offset: z.array(z.number().int()),
  });
  return z.object({
    id: z.string(),
    object: z.literal('text_completion'),
    created: z.number().int().describe('Unix seconds'),
    model: z.string(),
    choices: z.array(
      z.object({ text: z.string(), index: z.number().int(), logprobs: logprobs.nullable(), finish_reason: z.enum(FINISH_REASONS) }),
    ),
    usage: UsageSchema,
    system_fingerprint: z.string().nullable(),
    ...metadataSchemas(style),
  });
}
