/** What a client is told about a run that ended without an answer. */
import type { RunErrorCode } from '../../../events/contract/index.js';
import { formatAmount } from '../../../events/contract/index.js';
import type { ReserveResult } from '../../ledger/ledger-client.js';
import { type RefusalError, type RefusalName, refuse } from '../refusals.js';
import { topUpUrl } from '../routes/top-up/top-up-url.js';
import type { RunEnding } from '../runs/run-in-flight.js';
import { answersOfAsk } from './billed-run.js';
import type { RunPlan } from './plan-run.js';

const REFUSAL_OF_ERROR_CODE: Readonly<Record<RunErrorCode, RefusalName>> = {
  engine_at_capacity: 'engine_at_capacity',
  model_loading: 'model_loading',
  model_unavailable: 'provider_unavailable',
  context_length_exceeded: 'context_length_exceeded',
  invalid_prompt: 'invalid_value',
  engine_crashed: 'provider_unavailable',
  engine_failed: 'provider_unavailable',
  deadline_exceeded: 'run_timed_out',
  worker_lost: 'provider_unavailable',
  interrupted_by_restart: 'provider_unavailable',
  run_abandoned: 'provider_unavailable',
};

/** The refusal of a run that did not complete. Only messages about the client's own input are passed on; the rest is for the log. */
export function refusalOfEnding(ending: Exclude<RunEnding, { status: 'completed' }>, promptParameter: string): RefusalError {
  switch (ending.status) {
    case 'answer_lost':
      return refuse('internal_error', {
        message: 'The answer was lost. With an Idempotency-Key the request can be repeated without a charge.',
      });
    case 'unsettled':
      return refusalOfErrorCode(ending.failure?.errorCode ?? 'deadline_exceeded', ending.failure?.message, promptParameter);
    case 'not_completed':
      if (ending.settled.outcome === 'expired') return refuse('run_timed_out');
      return refusalOfErrorCode(ending.failure?.errorCode ?? ending.settled.errorCode, ending.failure?.message, promptParameter);
  }
}

function refusalOfErrorCode(errorCode: string | null, message: string | undefined, promptParameter: string): RefusalError {
  const name = REFUSAL_OF_ERROR_CODE[errorCode as RunErrorCode] ?? 'provider_unavailable';
  const tellsClient = (name === 'context_length_exceeded' || name === 'invalid_value') && message !== undefined && message !== '';
  return refuse(name, { ...(tellsClient ? { message, param: promptParameter } : {}), cause: errorCode });
}

/** The refusal of a reservation. A money refusal says what is missing and leads the payer to a top-up. */
export function refusalOfReservation(
  result: Extract<ReserveResult, { status: 'refused' }>,
  plan: Pick<RunPlan, 'payer' | 'ask' | 'caller'>,
  offer: { readonly unit: string; readonly publicBaseUrl: string },
): RefusalError {
  switch (result.reason) {
    case 'insufficient_credit':
      return refuse('insufficient_credit', {
        message: insufficientMessage(result, plan, offer.unit),
        checkoutUrl: topUpUrl(offer.publicBaseUrl, topUpPayer(plan)),
      });
    case 'reservation_exists_with_different_request':
    case 'reservation_already_settled':
      return refuse('request_in_progress');
    case 'reservation_id_too_old':
      return refuse('ledger_unavailable', { cause: result.reason });
    case 'account_at_capacity':
      return refuse('engine_at_capacity', { message: 'Too many runs of this account are under way.' });
    case 'unit_mismatch':
      return refuse('internal_error', { cause: result.reason });
  }
}

function topUpPayer({ payer, caller }: Pick<RunPlan, 'payer' | 'caller'>) {
  return payer.consumerId === null ? { projectId: caller.projectId } : { consumerId: payer.consumerId };
}

function insufficientMessage(
  result: Extract<ReserveResult, { reason: 'insufficient_credit' }>,
  plan: Pick<RunPlan, 'payer' | 'ask'>,
  unit: string,
): string {
  const who = plan.payer.consumerId === null ? 'Project' : 'Consumer';
  const amounts = `it may need up to ${formatAmount(result.requiredNanos)} ${unit} and ${formatAmount(result.availableNanos)} is available`;
  const { output } = plan.ask;
  const affordable = Math.floor(result.affordableOutputTokens / answersOfAsk(plan.ask));
  if (affordable === 0 || output === null || output.tokensAsked === null) return `${who} does not have enough credits: ${amounts}.`;
  const each = answersOfAsk(plan.ask) === 1 ? '' : ' for each answer';
  return `${who} does not have enough credits: ${amounts}. The balance affords ${output.parameter} up to ${affordable}${each}.`;
}
