/** One purchase that the tests of payments share: Huru's smallest pack. */
import type { OfferCheckoutCommand, OpenCheckoutCommand, PaymentFinding } from '../payments-client.js';

export const NOW_MS = 1_790_000_000_000;
export const PAYMENT_ID = 'pay_0123456789abcdefghjkmnpqrs';
export const REFERENCE = 'huru_topup_0123456789abcdefghjkmnpqrs';

export const OPEN: OpenCheckoutCommand = {
  type: 'OpenCheckout',
  paymentId: PAYMENT_ID,
  reference: REFERENCE,
  provider: 'paystack',
  mode: 'test',
  environment: 'test',
  accountId: 'acc_test',
  holder: { kind: 'project', projectId: 'prj_test' },
  unit: 'credit',
  starterNanos: 0n,
  packId: 'credits_10',
  amountMinor: 1_000n,
  currency: 'NGN',
  creditNanos: 100_000_000_000n,
  attempt: 'attempt',
  successUrl: null,
  cancelUrl: null,
};

export const OFFER: OfferCheckoutCommand = {
  type: 'OfferCheckout',
  paymentId: PAYMENT_ID,
  providerReference: 'huru-topup-0123456789abcdefghjkmnpqrs',
  authorizationUrl: 'https://checkout.paystack.com/x',
  expiresAtMs: NOW_MS + 3_600_000,
};

export const FINDING: PaymentFinding = {
  provider: 'paystack',
  mode: 'test',
  reference: REFERENCE,
  providerReference: OFFER.providerReference,
  providerPaymentId: '4099260516',
  accountId: 'acc_test',
  amountMinor: 1_000n,
  currency: 'NGN',
};
