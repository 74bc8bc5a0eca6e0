/**
 * The decider of payments: pure, total, time is an argument. It trusts what the provider answered when it was asked, never what a client or a
 * webhook claims, and only where it is exactly what was opened: provider, mode, reference, account, currency and amount.
 */
import {
  divideRounding,
  GRANT_ORDINALS_MAX,
  type Nanos,
  type PaymentEvent,
  type PaymentMismatch,
  paymentGrantId,
  type Rounding,
} from '../../../events/contract/index.js';
import { invariant, unreachable } from '../domain/invariant.js';
import { clawedBackNanosOf, type PaymentState, reversedMinorOf } from './payment-state.js';
import type {
  OpenCheckoutCommand,
  PaymentCommand,
  PaymentFinding,
  PaymentRefusal,
  RecordFailureCommand,
  RecordPaymentCommand,
  RecordReversalCommand,
} from './payments-client.js';

export type PaymentDecision =
  | { readonly kind: 'accepted'; readonly events: readonly PaymentEvent[] }
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'rejected'; readonly reason: PaymentRefusal };

/**
 * A part of the money that goes back takes this share of the credit with it. Up: what stays on the account never exceeds what was paid for it,
 * and the whole refund takes exactly the whole.
 */
export const CLAWBACK_ROUNDING: Rounding = 'up';

/** Refunds and disputes of one payment; providers allow fewer, and each may be booked twice (taken and given back). */
export const REVERSALS_MAX = 100;

const UNCHANGED: PaymentDecision = { kind: 'unchanged' };

export function decidePayment(command: PaymentCommand, state: PaymentState, nowMs: number): PaymentDecision {
  if (command.type === 'OpenCheckout') return decideOpen(command, state);
  if (state.opened === null) return rejected('unknown_payment');
  switch (command.type) {
    case 'OfferCheckout': {
      const { type: _type, ...offer } = command;
      return state.offer === null ? accepted({ type: 'CheckoutOffered', ...offer }) : UNCHANGED;
    }
    case 'RecordPayment':
      return decideRecord(command, state, state.opened);
    case 'RecordFailure':
      return decideFailure(command, state);
    case 'RecordReversal':
      return decideReversal(command, state, state.opened, nowMs);
    case 'BookPayment':
      return UNCHANGED;
    default:
      return unreachable(command);
  }
}

function decideOpen(command: OpenCheckoutCommand, { opened }: PaymentState): PaymentDecision {
  if (command.amountMinor <= 0n || command.creditNanos <= 0n) return rejected('amount_out_of_range');
  if (opened === null) return accepted({ ...command, type: 'CheckoutOpened' });
  const isSame =
    opened.accountId === command.accountId &&
    opened.provider === command.provider &&
    opened.packId === command.packId &&
    opened.attempt === command.attempt &&
    opened.successUrl === command.successUrl &&
    opened.cancelUrl === command.cancelUrl;
  return isSame ? UNCHANGED : rejected('payment_exists_with_different_terms');
}

type Opened = NonNullable<PaymentState['opened']>;

function decideRecord({ finding, source, paymentId }: RecordPaymentCommand, state: PaymentState, opened: Opened): PaymentDecision {
  if (finding.provider !== opened.provider) return rejected('wrong_provider');
  if (state.verifiedAtMs !== null) return UNCHANGED;
  const { providerReference, providerPaymentId, amountMinor, currency } = finding;
  const mismatch = mismatchOf(finding, opened);
  if (mismatch !== null) {
    const known = state.mismatched;
    const isKnown =
      known?.mismatch === mismatch &&
      known.providerPaymentId === providerPaymentId &&
      known.amountMinor === amountMinor &&
      known.currency === currency;
    return isKnown ? UNCHANGED : accepted({ type: 'PaymentMismatched', paymentId, mismatch, providerPaymentId, amountMinor, currency });
  }
  return accepted({
    type: 'PaymentVerified',
    paymentId,
    providerReference,
    providerPaymentId,
    amountMinor,
    currency,
    source,
    // By the opening's time: whoever verifies first, the id is the same.
    grantId: paymentGrantId(paymentId, state.openedAtMs, 0),
    creditNanos: opened.creditNanos,
  });
}

function mismatchOf(finding: PaymentFinding, opened: Opened): PaymentMismatch | null {
  if (finding.reference !== opened.reference) return 'reference';
  if (finding.mode !== opened.mode) return 'mode';
  if (finding.accountId !== null && finding.accountId !== opened.accountId) return 'account';
  if (finding.currency !== opened.currency) return 'currency';
  return finding.amountMinor === opened.amountMinor ? null : 'amount';
}

/** Money that has come is not undone by a late "failed"; and a payment that failed may still be paid. */
function decideFailure({ paymentId, outcome, reason }: RecordFailureCommand, state: PaymentState): PaymentDecision {
  if (state.verifiedAtMs !== null || state.ended !== null) return UNCHANGED;
  return accepted(outcome === 'failed' ? { type: 'PaymentFailed', paymentId, reason } : { type: 'PaymentAbandoned', paymentId });
}

function decideReversal(command: RecordReversalCommand, state: PaymentState, opened: Opened, nowMs: number): PaymentDecision {
  if (command.provider !== opened.provider) return rejected('wrong_provider');
  if (command.currency !== opened.currency) return rejected('wrong_currency');
  if (command.amountMinor < 0n) return rejected('amount_out_of_range');
  // Nothing was credited, so nothing is taken back; should it still be verified, the provider is asked for its reversals again.
  if (state.verifiedAtMs === null) return UNCHANGED;
  const { paymentId, reversalId, amountMinor, kind, status } = command;
  const known = state.reversals.get(reversalId);
  // What ended stays ended: the news of its beginning has only come late.
  if (known?.status === status || known?.status === 'lifted' || known?.status === 'final') return UNCHANGED;
  if (known === undefined && state.reversals.size >= REVERSALS_MAX) return rejected('too_many_reversals');
  const moved = amountAfter(command, state, opened, nowMs);
  const events: PaymentEvent[] = [];
  const fields = { paymentId, reversalId, amountMinor, ...moved };
  if (status === 'lifted') events.push({ type: kind === 'refund' ? 'RefundFailed' : 'DisputeWon', ...fields });
  // A loss that is heard of without its beginning takes the money as the beginning would have.
  else if (known === undefined) events.push({ type: kind === 'refund' ? 'PaymentRefunded' : 'DisputeOpened', ...fields });
  if (status === 'final' && kind === 'dispute') events.push({ type: 'DisputeLost', paymentId, reversalId });
  return events.length === 0 ? UNCHANGED : accepted(...events);
}

/** What the account loses or gets back so that it has lost the share of the credit whose money is gone. */
function amountAfter(
  command: RecordReversalCommand,
  state: PaymentState,
  opened: Opened,
  nowMs: number,
): { readonly creditNanos: Nanos; readonly grantId: string | null } {
  const reversals = new Map(state.reversals);
  reversals.set(command.reversalId, { kind: command.kind, amountMinor: command.amountMinor, status: command.status });
  const reversedMinor = reversedMinorOf({ ...state, reversals });
  const owedNanos = divideRounding(opened.creditNanos * reversedMinor, opened.amountMinor, CLAWBACK_ROUNDING);
  const creditNanos = clawedBackNanosOf(state) - owedNanos;
  if (creditNanos === 0n) return { creditNanos, grantId: null };
  const ordinal = state.bookings.length;
  invariant(ordinal < GRANT_ORDINALS_MAX, 'every booking has a name');
  return { creditNanos, grantId: paymentGrantId(command.paymentId, nowMs, ordinal) };
}

function accepted(...events: readonly PaymentEvent[]): PaymentDecision {
  return { kind: 'accepted', events };
}

function rejected(reason: PaymentRefusal): PaymentDecision {
  return { kind: 'rejected', reason };
}
