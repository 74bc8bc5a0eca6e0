/** `POST /v1/chat/completions`: reserve, run, settle; the answer leaves when the books have closed on the run. */
import { z } from 'zod';
import { FINISH_REASONS } from '../../../../events/contract/index.js';
import { requestDigest } from '../../idempotency/idempotent-run.js';
import { ClientGoneError } from '../../read-body.js';
import { refuse } from '../../refusals.js';
import { idempotencyKey } from '../../request-headers.js';
import { defineRoute, type RouteContext, type RouteDefinition, type RouteReply } from '../../route.js';
import { type AnswerDeps, answerReplay, answerRun } from './answer-run.js';
import { planRun } from './plan-run.js';
import { ChatCompletionBody, type ChatRequest, chatRequestOf } from './request-schema.js';

export const CHAT_COMPLETIONS_PATH = '/v1/chat/completions';

export function chatCompletionsRoutes(deps: AnswerDeps): RouteDefinition[] {
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
          schema: chatCompletionSchema(deps),
        },
      },
      handle: (context, input) => completeChat(deps, context, chatRequestOf(input.body)),
    }),
  ];
}

async function completeChat(deps: AnswerDeps, context: RouteContext<'project_key'>, request: ChatRequest): Promise<RouteReply> {
  const key = idempotencyKey(context.request);
  const { plan, consumerEmail } = await planRun(deps, context, request);
  if (context.response.destroyed) throw new ClientGoneError('the client went away before anything was reserved');
  if (deps.replies.isFull) throw refuse('engine_at_capacity');
  const tokens = deps.limiter.reserveTokens(context.caller.keyId, plan.promptTokensMax + plan.outputTokensMax);
  if ('status' in tokens) throw refuse('rate_limited', { message: tokens.message, retryAfterSeconds: tokens.retryAfterSeconds });
  if (key === null) return answerRun(deps, context, plan, tokens, null);
  const begun = await deps.idempotency
    .begin({
      projectId: context.caller.projectId,
      key,
      requestDigest: requestDigest(CHAT_COMPLETIONS_PATH, consumerEmail, context.rawBody ?? Buffer.alloc(0)),
      accountId: plan.payer.accountId,
      runId: plan.runId,
    })
    .catch((error: unknown) => {
      tokens.settle(0);
      throw error;
    });
  if ('replay' in begun) {
    tokens.settle(0);
    return answerReplay(deps, context, request, begun.replay);
  }
  return answerRun(deps, context, { ...plan, runId: begun.runId, terms: begun.terms ?? plan.terms }, tokens, begun);
}

function chatCompletionSchema(deps: AnswerDeps): z.ZodType {
  const tokens = z.number().int().nonnegative();
  const { brand, unit } = deps.preset;
  const metadata = z.object({
    request_id: z.string(),
    credits_used: unit === 'credit' ? z.number() : z.string().describe('Decimal'),
    ...(unit === 'credit' ? {} : { unit: z.literal(unit) }),
    verified: z.boolean(),
    verification_mode: z.string(),
    provider: z.string(),
  });
  return z.object({
    id: z.string(),
    object: z.literal('chat.completion'),
    created: z.number().int().describe('Unix seconds'),
    model: z.string(),
    choices: z.array(
      z.object({
        index: z.number().int(),
        message: z.object({ role: z.literal('assistant'), content: z.string(), refusal: z.null() }),
        logprobs: z.null(),
        finish_reason: z.enum(FINISH_REASONS),
      }),
    ),
    usage: z.object({
      prompt_tokens: tokens,
      completion_tokens: tokens,
      total_tokens: tokens,
      prompt_tokens_details: z.object({ cached_tokens: tokens }),
    }),
    system_fingerprint: z.string().nullable(),
    ...(brand.response_object ? { [brand.slug]: metadata } : {}),
    idempotent_replay: z.literal(true).optional().describe('Only on an answer replayed for an Idempotency-Key'),
  });
}
