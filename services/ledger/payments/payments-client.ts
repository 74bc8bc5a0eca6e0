/**
 * The port through which the API reaches payments: in-process when embedded, the ledger's internal HTTP when distributed. Every command is
 * idempotent by what it says; what a payment means for an account is booked by the ledger, never by the API.
 */
import type { CheckoutTerms, Environment, Nanos, PaymentMismatch, PaymentSource } from '../../../events/contract/index.js';

export type OpenCheckoutCommand = { readonly type: 'OpenCheckout' } & CheckoutTerms;

export type OfferCheckoutCommand = {
  readonly type: 'OfferCheckout';
  readonly paymentId: string;
  readonly providerReference: string;
  readonly authorizationUrl: string;
  readonly expiresAtMs: number;
};

/** What the provider answered when it was asked about a payment. `null`: it does not say. */
export type PaymentFinding = {
  readonly provider: string;
  readonly mode: Environment;
  readonly reference: string;
  readonly providerReference: string;
  readonly providerPaymentId: string;
  readonly accountId: string | null;
  readonly amountMinor: bigint;
  readonly currency: string;
};

export type RecordPaymentCommand = {
  readonly type: 'RecordPayment';
  readonly paymentId: string;
  readonly source: PaymentSource;
  readonly finding: PaymentFinding;
};

export type RecordFailureCommand = {
  readonly type: 'RecordFailure';
  readonly paymentId: string;
  readonly outcome: 'failed' | 'abandoned';
  readonly reason: string;
};

/** `active`: the money is gone, or held back. `lifted`: it is ours again. `final`: it stays gone. */
export type ReversalStatus = 'active' | 'lifted' | 'final';

export type RecordReversalCommand = {
  readonly type: 'RecordReversal';
  readonly paymentId: string;
  readonly provider: string;
  readonly reversalId: string;
  readonly kind: 'refund' | 'dispute';
  readonly status: ReversalStatus;
  readonly amountMinor: bigint;
  readonly currency: string;
};

/** Books what is decided and not booked yet; changes nothing otherwise. */
export type BookPaymentCommand = { readonly type: 'BookPayment'; readonly paymentId: string };

export type PaymentCommand =
  | OpenCheckoutCommand
  | OfferCheckoutCommand
  | RecordPaymentCommand
  | RecordFailureCommand
  | RecordReversalCommand
  | BookPaymentCommand;

/**
 *     opening ─▶ pending ─▶ paid ─▶ credited ─▶ disputed, partially_refunded, refunded
 *                   └─▶ failed, abandoned, mismatched   (money that comes later still counts)
 */
export const PAYMENT_STATUSES = [
  'opening',
  'pending',
  'paid',
  'credited',
  'disputed',
  'partially_refunded',
  'refunded',
  'failed',
  'abandoned',
  'mismatched',
] as const;
export type PaymentStatus = (typeof PAYMENT_STATUSES)[number];

/** A payment as its stream tells it. */
export type Payment = Omit<CheckoutTerms, 'starterNanos'> & {
  readonly status: PaymentStatus;
  readonly providerReference: string | null;
  readonly authorizationUrl: string | null;
  readonly openedAtMs: number;
  readonly expiresAtMs: number | null;
  readonly verifiedAtMs: number | null;
  readonly mismatch: PaymentMismatch | null;
  readonly failure: string | null;
  /** Minor units that went back or are disputed. */
  readonly reversedMinor: bigint;
  /** Booked on the account so far: credit, and what was taken back of it (not negative). */
  readonly creditedNanos: Nanos;
  readonly clawedBackNanos: Nanos;
  /** Amounts that are decided and not booked yet. */
  readonly unbooked: number;
  readonly revision: number;
  /** Revision of the account after the last booking that this call made; -1 when it made none. */
  readonly accountRevision: number;
};

export type PaymentRefusal =
  | 'unknown_payment'
  | 'payment_exists_with_different_terms'
  | 'wrong_provider'
  | 'wrong_currency'
  | 'amount_out_of_range'
  | 'too_many_reversals';

export type PaymentOutcome =
  | { readonly status: 'done'; readonly payment: Payment }
  | { readonly status: 'refused'; readonly reason: PaymentRefusal };

export interface PaymentsClient {
  /** Durable when it resolves. Rejects with `LedgerUnavailableError` when that could not be learnt; asking again is safe. */
  submitPayment(command: PaymentCommand): Promise<PaymentOutcome>;
  /** `null` when there is no such payment. */
  payment(paymentId: string): Promise<Payment | null>;
}
