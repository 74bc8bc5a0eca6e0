/**
 * The view of payments: one row each, whole. A page reads the rows of the payments that it touches, changes them and writes them back, so the
 * row needs no sums and a rebuild keeps it in memory (payments are few beside requests).
 */
import { decodePaymentEvent, type Environment, type PaymentEvent, type RecordedEvent } from '../../../events/contract/index.js';
import { BrokenBooksError } from './broken-books-error.js';

export type ReversalRow = {
  readonly kind: 'refund' | 'dispute';
  readonly amountMinor: string;
  readonly status: 'active' | 'lifted' | 'final';
};

export type PaymentRow = {
  readonly paymentId: string;
  readonly reference: string;
  readonly provider: string;
  readonly mode: Environment;
  readonly environment: Environment;
  readonly accountId: string;
  readonly projectId: string;
  readonly consumerId: string | null;
  readonly unit: string;
  readonly packId: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly creditNanos: bigint;
  readonly status: string;
  readonly providerReference: string | null;
  readonly providerPaymentId: string | null;
  readonly mismatch: string | null;
  readonly verifiedNanos: bigint;
  readonly creditedNanos: bigint;
  readonly clawedBackNanos: bigint;
  readonly reversals: Readonly<Record<string, ReversalRow>>;
  readonly reversedMinor: bigint;
  readonly unbooked: number;
  readonly openedAtMs: number;
  readonly expiresAtMs: number | null;
  readonly verifiedAtMs: number | null;
  readonly creditedAtMs: number | null;
  readonly updatedAtMs: number;
  readonly revision: number;
};

export type PaymentRows = Map<string, PaymentRow>;

/** The row after the event. `known` is the one before, `null` for a payment's first. Throws `BrokenBooksError`. */
export function paymentRowAfter(known: PaymentRow | null, recorded: RecordedEvent): PaymentRow {
  const event = decodePaymentEvent(recorded);
  const { revision, metadata } = recorded;
  const seen = { revision, updatedAtMs: metadata.occurredAtMs };
  if (known === null || event.type === 'CheckoutOpened') {
    if (known !== null || event.type !== 'CheckoutOpened') throw new BrokenBooksError(`${recorded.stream} is not opened once, first`);
    return { ...openedRow(event), openedAtMs: metadata.occurredAtMs, ...seen };
  }
  const changed: PaymentRow = { ...known, ...changesOf(known, event, metadata.occurredAtMs), ...seen };
  const reversedMinor = reversedMinorOf(changed);
  return { ...changed, reversedMinor, status: statusOf({ ...changed, reversedMinor }) };
}

function openedRow(event: Extract<PaymentEvent, { type: 'CheckoutOpened' }>): Omit<PaymentRow, 'openedAtMs' | 'updatedAtMs' | 'revision'> {
  const { paymentId, reference, provider, mode, environment, accountId, holder, unit, packId, amountMinor, currency, creditNanos } = event;
  return {
    paymentId,
    reference,
    provider,
    mode,
    environment,
    accountId,
    projectId: holder.projectId,
    consumerId: holder.kind === 'consumer' ? holder.consumerId : null,
    unit,
    packId,
    amountMinor,
    currency,
    creditNanos,
    status: 'opening',
    providerReference: null,
    providerPaymentId: null,
    mismatch: null,
    verifiedNanos: 0n,
    creditedNanos: 0n,
    clawedBackNanos: 0n,
    reversals: {},
    reversedMinor: 0n,
    unbooked: 0,
    expiresAtMs: null,
    verifiedAtMs: null,
    creditedAtMs: null,
  };
}

function changesOf(row: PaymentRow, event: Exclude<PaymentEvent, { type: 'CheckoutOpened' }>, occurredAtMs: number): Partial<PaymentRow> {
  switch (event.type) {
    case 'CheckoutOffered':
      return {
        status: row.status === 'opening' ? 'pending' : row.status,
        providerReference: event.providerReference,
        expiresAtMs: event.expiresAtMs,
      };
    case 'PaymentVerified':
      return {
        verifiedAtMs: occurredAtMs,
        verifiedNanos: event.creditNanos,
        providerReference: event.providerReference,
        providerPaymentId: event.providerPaymentId,
        unbooked: row.unbooked + 1,
      };
    case 'PaymentMismatched':
      return { mismatch: event.mismatch, providerPaymentId: event.providerPaymentId, status: 'mismatched' };
    case 'PaymentFailed':
      return { status: 'failed' };
    case 'PaymentAbandoned':
      return { status: 'abandoned' };
    case 'PaymentRefunded':
      return reversed(row, event, { kind: 'refund', status: 'active' });
    case 'RefundFailed':
      return reversed(row, event, { kind: 'refund', status: 'lifted' });
    case 'DisputeOpened':
      return reversed(row, event, { kind: 'dispute', status: 'active' });
    case 'DisputeWon':
      return reversed(row, event, { kind: 'dispute', status: 'lifted' });
    case 'DisputeLost': {
      const known = row.reversals[event.reversalId];
      if (known === undefined) throw new BrokenBooksError(`${event.paymentId} lost a dispute that was not opened`);
      return { reversals: { ...row.reversals, [event.reversalId]: { ...known, status: 'final' } } };
    }
    case 'PaymentBooked': {
      const isCredit = row.creditedAtMs === null;
      return {
        unbooked: row.unbooked - 1,
        ...(isCredit
          ? { creditedAtMs: occurredAtMs, creditedNanos: event.creditNanos }
          : { clawedBackNanos: event.creditNanos < 0n ? row.clawedBackNanos - event.creditNanos : row.clawedBackNanos }),
      };
    }
  }
}

function reversed(
  row: PaymentRow,
  event: { readonly reversalId: string; readonly amountMinor: bigint; readonly creditNanos: bigint; readonly grantId: string | null },
  reversal: Pick<ReversalRow, 'kind' | 'status'>,
): Partial<PaymentRow> {
  const reversals = { ...row.reversals, [event.reversalId]: { ...reversal, amountMinor: event.amountMinor.toString() } };
  // What is given back counts from the decision, what is taken from the booking: the accounts are never ahead of this sum.
  const givenBackNanos = event.creditNanos > 0n ? event.creditNanos : 0n;
  return {
    reversals,
    clawedBackNanos: row.clawedBackNanos - givenBackNanos,
    unbooked: row.unbooked + (event.grantId === null ? 0 : 1),
  };
}

function reversedMinorOf({ reversals, amountMinor }: PaymentRow): bigint {
  const sum = Object.values(reversals).reduce((total, one) => (one.status === 'lifted' ? total : total + BigInt(one.amountMinor)), 0n);
  return sum > amountMinor ? amountMinor : sum;
}

/** As the payment's own stream tells it (services/ledger/payments/payment-state.ts); a test holds the two together. */
function statusOf(row: PaymentRow): string {
  if (row.verifiedAtMs === null) {
    if (row.mismatch !== null) return 'mismatched';
    return row.status;
  }
  if (row.unbooked > 0) return 'paid';
  if (Object.values(row.reversals).some(({ kind, status }) => kind === 'dispute' && status === 'active')) return 'disputed';
  if (row.reversedMinor === 0n) return 'credited';
  return row.reversedMinor === row.amountMinor ? 'refunded' : 'partially_refunded';
}
