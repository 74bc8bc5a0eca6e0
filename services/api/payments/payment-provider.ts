/**
 * The port to whoever takes the money. A provider is asked, never believed unasked: a webhook only says which payment to ask about, so one that
 * is lost, late, doubled or out of order changes nothing but when the question is put.
 */
import type { Environment } from '../../../events/contract/index.js';
import type { PaymentFinding, ReversalStatus } from '../../ledger/ledger-client.js';

export const PROVIDER_NAMES = ['paystack', 'stripe', 'local'] as const;
export type ProviderName = (typeof PROVIDER_NAMES)[number];

/** What a provider needs to make a checkout. */
export type CheckoutRequest = {
  readonly reference: string;
  readonly paymentId: string;
  readonly accountId: string;
  /** When it was asked for first: whatever depends on time is the same for who asks again. */
  readonly openedAtMs: number;
  readonly packName: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  /** Of the payer where it is known; some providers cannot do without one and have a stand-in. */
  readonly email: string | null;
  /** Ours: where the browser comes back to, before it goes on to the client's own page. */
  readonly returnUrl: string;
  readonly cancelUrl: string;
};

export type OfferedCheckout = { readonly providerReference: string; readonly authorizationUrl: string; readonly expiresAtMs: number };

/** How a payment is named towards the provider. */
export type PaymentName = { readonly reference: string; readonly providerReference: string | null };

export type ProviderPayment =
  | { readonly status: 'paid'; readonly finding: PaymentFinding }
  | { readonly status: 'pending' }
  | { readonly status: 'failed' | 'abandoned'; readonly reason: string }
  /** The provider has never heard of it. */
  | { readonly status: 'unknown' };

export type ProviderReversal = {
  readonly reversalId: string;
  readonly kind: 'refund' | 'dispute';
  readonly status: ReversalStatus;
  readonly amountMinor: bigint;
  readonly currency: string;
};

/** A payment in the provider's list. */
export type ListedPayment = {
  /** Ours, or `null` for one that is not Farebox's. */
  readonly reference: string | null;
  readonly isPaid: boolean;
  readonly amountMinor: bigint;
  readonly currency: string;
};

export type TimeWindow = { readonly fromMs: number; readonly toMs: number };

/** `forged`: not signed by the provider, or for another mode. `ignored`: genuine, and none of our business. */
export type WebhookReading =
  | { readonly status: 'forged'; readonly reason: string }
  | { readonly status: 'ignored' }
  | { readonly status: 'concerns'; readonly reference: string };

export interface PaymentProvider {
  readonly name: ProviderName;
  /** By the key that the provider was configured with. */
  readonly mode: Environment;
  /** Idempotent by reference. Rejects with `ProviderUnavailableError` or `CheckoutRefusedError`. */
  offer(request: CheckoutRequest): Promise<OfferedCheckout>;
  payment(name: PaymentName): Promise<ProviderPayment>;
  /** Refunds and disputes of a payment that is paid, or was. */
  reversals(name: PaymentName): Promise<ProviderReversal[]>;
  /** Everything that was begun in the window, and references of what was refunded or disputed in it. */
  list(window: TimeWindow): Promise<{ readonly payments: readonly ListedPayment[]; readonly reversed: readonly string[] }>;
  readWebhook(rawBody: Buffer, headers: NodeJS.Dict<string | string[]>): Promise<WebhookReading>;
}

/** The provider did not answer, or not in its own terms. Trying again may help. */
export class ProviderUnavailableError extends Error {
  override readonly name = 'ProviderUnavailableError';
}

/** The provider will not make this checkout. */
export class CheckoutRefusedError extends Error {
  override readonly name = 'CheckoutRefusedError';
}

/** Payments in one list; a longer window is asked for in parts. */
export const LISTED_PAYMENTS_MAX = 10_000;
