/**
 * Holds our payments against the provider's list for a time: credits what was paid and not credited, takes back what was returned, and reports
 * what no program should decide. Idempotent, and safe beside everything else that asks.
 */
import type { Payment } from '../../ledger/ledger-client.js';
import { LISTED_PAYMENTS_MAX, type ListedPayment, type TimeWindow } from './payment-provider.js';
import { paymentIdOfReference } from './payment-references.js';
import type { PaymentLine, PaymentsView } from './payments-view.js';
import { type SyncDeps, syncPayment } from './sync-payment.js';

export type ReconciliationFinding = {
  readonly kind:
    | 'credited_now'
    | 'reversed_now'
    /** Verified, and the account refuses the credit: see the log. */
    | 'not_booked'
    | 'mismatch'
    | 'credited_but_unpaid'
    /** The provider has a payment under a name of ours that nobody opened here. */
    | 'unknown_payment';
  readonly reference: string;
  readonly detail: string;
};

export type Reconciliation = { readonly payments: number; readonly listed: number; readonly findings: readonly ReconciliationFinding[] };

export type ReconcileDeps = SyncDeps & { readonly view: PaymentsView };

/** The provider counts a checkout from when it made the page, which is a little later than we do. */
const CLOCKS_APART_MS = 10 * 60 * 1_000;

const CREDITED = new Set(['credited', 'disputed', 'partially_refunded', 'refunded']);

/** Findings that somebody must look at. */
export function needsAttention({ kind }: ReconciliationFinding): boolean {
  return kind !== 'credited_now' && kind !== 'reversed_now';
}

/** Rejects with `ProviderUnavailableError`. */
export async function reconcilePayments(deps: ReconcileDeps, window: TimeWindow): Promise<Reconciliation> {
  const list = await deps.provider.list(window);
  const lines = await deps.view.openedBetween(
    deps.provider.name,
    { fromMs: window.fromMs - CLOCKS_APART_MS, toMs: window.toMs + CLOCKS_APART_MS },
    LISTED_PAYMENTS_MAX,
  );
  const findings: ReconciliationFinding[] = [];
  const paid = new Map<string, ListedPayment>();
  for (const listed of list.payments) if (listed.reference !== null && listed.isPaid) paid.set(listed.reference, listed);
  const settled = new Map(lines.filter(({ status }) => CREDITED.has(status)).map((line) => [line.reference, line]));
  for (const [reference, listed] of paid) {
    // Nearly all of them: the view says that both sides agree, and no stream need be read.
    const line = settled.get(reference);
    if (line !== undefined && line.amountMinor === listed.amountMinor && line.currency === listed.currency) continue;
    const finding = await checkPaid(deps, reference, listed);
    if (finding !== null) findings.push(finding);
  }
  const reversed = new Set(list.reversed);
  for (const reference of reversed) {
    const finding = await checkReversed(deps, reference);
    if (finding !== null) findings.push(finding);
  }
  for (const line of lines) {
    if (paid.has(line.reference) || !CREDITED.has(line.status)) continue;
    const finding = await checkUnpaid(deps, line);
    if (finding !== null) findings.push(finding);
  }
  await closeExpired(deps, lines, window.toMs);
  return { payments: lines.length, listed: list.payments.length, findings };
}

async function checkPaid(deps: ReconcileDeps, reference: string, listed: ListedPayment): Promise<ReconciliationFinding | null> {
  const paymentId = paymentIdOfReference(reference);
  const before = paymentId === null ? null : await deps.payments.payment(paymentId);
  const sum = `${listed.amountMinor} ${listed.currency} (minor units)`;
  if (paymentId === null || before === null) return { kind: 'unknown_payment', reference, detail: `the provider received ${sum}` };
  if (before.verifiedAtMs !== null && before.unbooked === 0) {
    if (listed.amountMinor === before.amountMinor && listed.currency === before.currency) return null;
    return { kind: 'mismatch', reference, detail: `verified ${before.amountMinor} ${before.currency}, listed ${sum}` };
  }
  const after = await syncPayment(deps, paymentId, 'reconciliation');
  if (after === null || after.mismatch !== null || after.verifiedAtMs === null) {
    return { kind: 'mismatch', reference, detail: `asked ${before.amountMinor} ${before.currency}, received ${sum}: ${after?.mismatch}` };
  }
  if (after.unbooked > 0) return { kind: 'not_booked', reference, detail: `${after.unbooked} amounts are not on the account` };
  return { kind: 'credited_now', reference, detail: `was paid and not credited: ${sum}` };
}

async function checkReversed(deps: ReconcileDeps, reference: string): Promise<ReconciliationFinding | null> {
  const paymentId = paymentIdOfReference(reference);
  const before = paymentId === null ? null : await deps.payments.payment(paymentId);
  if (paymentId === null || before === null) return null;
  const after = await syncPayment(deps, paymentId, 'reconciliation');
  if (after === null || after.reversedMinor === before.reversedMinor) return null;
  return {
    kind: 'reversed_now',
    reference,
    detail: `${before.reversedMinor} were known as returned or disputed, now ${after.reversedMinor}`,
  };
}

/** Not in the list as paid: the provider is asked about this one before anything is said. */
async function checkUnpaid(deps: ReconcileDeps, line: PaymentLine): Promise<ReconciliationFinding | null> {
  const payment: Payment | null = await deps.payments.payment(line.paymentId);
  if (payment === null) return null;
  const answer = await deps.provider.payment({ reference: payment.reference, providerReference: payment.providerReference });
  if (answer.status === 'paid') return null;
  return { kind: 'credited_but_unpaid', reference: line.reference, detail: `the provider calls it ${answer.status}` };
}

/** What can be paid no more is called abandoned once its provider says so. */
async function closeExpired(deps: ReconcileDeps, lines: readonly PaymentLine[], nowMs: number): Promise<void> {
  for (const { paymentId, status, expiresAtMs } of lines) {
    if (status === 'pending' && expiresAtMs !== null && expiresAtMs < nowMs) await syncPayment(deps, paymentId, 'reconciliation');
  }
}
