/**
 * The way of every request that charges: plan → limits → idempotency → hold → run → settlement → answer. A route has parsed its body; from here
 * on all of them are alike.
 */
import { hash } from 'node:crypto';
import { headerBrand } from '../../../presets/preset-schema.js';
import { requestDigest } from '../idempotency/idempotent-run.js';
import { reserveRunTokens } from '../limits/reserve-run-tokens.js';
import { ClientGoneError } from '../read-body.js';
import { refuse } from '../refusals.js';
import { idempotencyKey } from '../request-headers.js';
import type { RouteContext, RouteReply } from '../route.js';
import { answerReplay } from './answer-replay.js';
import { answerRun, type BilledRunDeps } from './answer-run.js';
import type { AnswerShape, RunAsk } from './billed-run.js';
import { planRun } from './plan-run.js';

const NOTHING = Buffer.alloc(0);

/** What a request with a JSON body is known by. */
export function boundToBody(rawBody: Buffer | null): Pick<RunAsk, 'requestHash' | 'keyBoundTo'> {
  const body = rawBody ?? NOTHING;
  return { requestHash: hash('sha256', body, 'hex'), keyBoundTo: body };
}

/** Throws a `RefusalError` as long as nothing has been sent. */
export async function serveBilledRun(
  deps: BilledRunDeps,
  context: RouteContext<'project_key'>,
  ask: RunAsk,
  shape: AnswerShape,
): Promise<RouteReply> {
  const key = idempotencyKey(context.request, headerBrand(deps.preset.brand));
  const { plan, consumerEmail } = await planRun(deps, context, ask);
  if (context.response.destroyed) throw new ClientGoneError('the client went away before anything was reserved');
  if (deps.replies.isFull) throw refuse('engine_at_capacity');
  const tokens = await reserveRunTokens(deps.limiter, context.caller, plan.promptTokensMax + plan.outputTokensMax);
  if (key === null) return answerRun(deps, context, plan, shape, tokens, null);
  const begun = await deps.idempotency
    .begin({
      projectId: context.caller.projectId,
      key,
      requestDigest: requestDigest(ask.endpoint, consumerEmail, ask.keyBoundTo),
      accountId: plan.payer.accountId,
      runId: plan.runId,
    })
    .catch((error: unknown) => {
      tokens.settle(0);
      throw error;
    });
  if ('replay' in begun) {
    tokens.settle(0);
    return answerReplay(context, ask, shape, begun.replay);
  }
  return answerRun(deps, context, { ...plan, runId: begun.runId, terms: begun.terms ?? plan.terms }, shape, tokens, begun);
}
