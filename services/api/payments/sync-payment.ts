/**
 * Asks the provider about one payment and records what it says. Webhook, return and reconciliation all end here; each may come first, twice or
 * never, since the payment's stream takes every answer once.
 */
import type { PaymentSource } from '../../../events/contract/index.js';
import type { Payment, PaymentCommand, PaymentsClient } from '../../ledger/ledger-client.js';
import type { PaymentProvider } from './payment-provider.js';

export type SyncDeps = {
  readonly provider: PaymentProvider;
  readonly payments: PaymentsClient;
  /** Told when something was booked on the payer's account. */
  readonly onBooked?: (payment: Payment) => void;
};

/** `null` when there is no such payment. One that another provider took is left as it is. Rejects with `ProviderUnavailableError`. */
export async function syncPayment(deps: SyncDeps, paymentId: string, source: PaymentSource): Promise<Payment | null> {
  const { provider, payments } = deps;
  const payment = await payments.payment(paymentId);
  if (payment === null || payment.provider !== provider.name) return payment;
  const name = { reference: payment.reference, providerReference: payment.providerReference };
  const answer = await provider.payment(name);
  switch (answer.status) {
    case 'paid':
      break;
    case 'failed':
    case 'abandoned':
      return record(deps, payment, { type: 'RecordFailure', paymentId, outcome: answer.status, reason: answer.reason.slice(0, 200) });
    case 'pending':
    case 'unknown':
      return payment;
  }
  let current = await record(deps, payment, { type: 'RecordPayment', paymentId, source, finding: answer.finding });
  // Where nothing was credited there is nothing to take back.
  if (current.verifiedAtMs === null) return current;
  for (const reversal of await provider.reversals(name)) {
    current = await record(deps, current, { type: 'RecordReversal', paymentId, provider: provider.name, ...reversal });
  }
  return current;
}

/** A command that the payment refuses leaves it as it is. */
async function record({ payments, onBooked }: SyncDeps, before: Payment, command: PaymentCommand): Promise<Payment> {
  const outcome = await payments.submitPayment(command);
  if (outcome.status === 'refused') return before;
  if (outcome.payment.accountRevision >= 0) onBooked?.(outcome.payment);
  return outcome.payment;
}
