/** What a client is told about a run that ended without an answer. */
import type { RunErrorCode } from '../../../../events/contract/index.js';
import { formatAmount } from '../../../../events/contract/index.js';
import type { ReserveResult } from '../../../ledger/ledger-client.js';
import { type RefusalError, type RefusalName, refuse } from '../../refusals.js';
import type { RunEnding } from '../../runs/run-in-flight.js';
import { topUpUrl } from '../top-up/top-up-url.js';
import type { RunPlan } from './plan-run.js';

const REFUSAL_OF_ERROR_CODE: Readonly<Record<RunErrorCode, RefusalName>> = {
  engine_at_capacity: 'engine_at_capacity',
  model_loading: 'model_loading',
  model_unavailable: 'provider_unavailable',
  context_length_exceeded: 'context_length_exceeded',
  engine_crashed: 'provider_unavailable',
  engine_failed: 'provider_unavailable',
  deadline_exceeded: 'run_timed_out',
  worker_lost: 'provider_unavailable',
  interrupted_by_restart: 'provider_unavailable',
  run_abandoned: 'provider_unavailable',
};

/** The refusal of a run that did not complete. Only messages about the client's own input are passed on; the rest is for the log. */
export function refusalOfEnding(ending: Exclude<RunEnding, { status: 'completed' }>): RefusalError {
  switch (ending.status) {
    case 'answer_lost':
      return refuse('internal_error', {
        message: 'The answer was lost. With an Idempotency-Key the request can be repeated without a charge.',
      });
    case 'unsettled':
      return refusalOfErrorCode(ending.failure?.errorCode ?? 'deadline_exceeded', ending.failure?.message);
    case 'not_completed':
      if (ending.settled.outcome === 'expired') return refuse('run_timed_out');
      return refusalOfErrorCode(ending.failure?.errorCode ?? ending.settled.errorCode, ending.failure?.message);
  }
}

function refusalOfErrorCode(errorCode: string | null, message: string | undefined): RefusalError {
  const name = REFUSAL_OF_ERROR_CODE[errorCode as RunErrorCode] ?? 'provider_unavailable';
  const tellsClient = name === 'context_length_exceeded' && message !== undefined && message !== '';
  return refuse(name, { ...(tellsClient ? { message, param: 'messages' } : {}), cause: errorCode });
}

/** The refusal of a reservation. A money refusal says what is missing and leads the payer to a top-up. */
export function refusalOfReservation(
  result: Extract<ReserveResult, { status: 'refused' }>,
  plan: Pick<RunPlan, 'payer' | 'request' | 'caller'>,
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
  plan: Pick<RunPlan, 'payer' | 'request'>,
  unit: string,
): string {
  const who = plan.payer.consumerId === null ? 'Project' : 'Consumer';
  const amounts = `it may need up to ${formatAmount(result.requiredNanos)} ${unit} and ${formatAmount(result.availableNanos)} is available`;
  const affordable = result.affordableOutputTokens;
  if (affordable === 0 || plan.request.outputTokensAsked === null) return `${who} does not have enough credits: ${amounts}.`;
  const { outputTokensParameter } = plan.request;
  return `${who} does not have enough credits: ${amounts}. The balance affords ${outputTokensParameter} up to ${affordable}.`;
}
