/** `POST /v1/chat/completions`: reserve, run, settle; the answer leaves when the books have closed on the run. */
import { z } from 'zod';
import { FINISH_REASONS } from '../../../../events/contract/index.js';
import type { BilledRunDeps } from '../../billed-runs/answer-run.js';
import { type AnswerStyle, metadataSchemas, UsageSchema } from '../../billed-runs/run-metadata.js';
import { boundToBody, serveBilledRun } from '../../billed-runs/serve-billed-run.js';
import { defineRoute, type RouteDefinition } from '../../route.js';
import { chatShape } from './completion.js';
import { CHAT_COMPLETIONS_PATH, ChatCompletionBody, chatAskOf } from './request-schema.js';

export { CHAT_COMPLETIONS_PATH };

export function chatCompletionsRoutes(deps: BilledRunDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'post',
      path: CHAT_COMPLETIONS_PATH,
      operationId: 'createChatCompletion',
      summary: 'Generate a chat completion, plain or streamed',
      tag: 'Chat',
      policy: 'project_key',
      billed: true,
      body: ChatCompletionBody,
      responses: {
        200: {
          description: 'The completion; with `stream: true` server-sent events of chat.completion.chunk.',
          schema: chatCompletionSchema(deps.preset),
        },
      },
      handle: (context, { body }) => {
        const ask = chatAskOf(body);
        return serveBilledRun(deps, context, { ...ask, ...boundToBody(context.rawBody) }, chatShape(ask, deps.preset));
      },
    }),
  ];
}

function chatCompletionSchema(style: AnswerStyle): z.ZodType {
  const chance = { token: z.string(), logprob: z.number(), bytes: z.array(z.number().int()) };
  const toolCall = z.object({
    id: z.string(),
    type: z.literal('function'),
    function: z.object({ name: z.string(), arguments: z.string().describe('JSON text') }),
  });
  return z.object({
    id: z.string(),
    object: z.literal('chat.completion'),
    created: z.number().int().describe('Unix seconds'),
    model: z.string(),
    choices: z.array(
      z.object({
        index: z.number().int(),
        message: z.object({
          role: z.literal('assistant'),
          content: z.string().nullable().describe('null where tools are called instead'),
          refusal: z.null(),
          tool_calls: z.array(toolCall).optional(),
        }),
        logprobs: z
          .object({ content: z.array(z.object({ ...chance, top_logprobs: z.array(z.object(chance)) })), refusal: z.null() })
          .nullable(),
        finish_reason: z.enum(FINISH_REASONS),
      }),
    ),
    usage: UsageSchema,
    system_fingerprint: z.string().nullable(),
    ...metadataSchemas(style),
  });
}
