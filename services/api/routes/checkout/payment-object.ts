/** A payment as clients and finance see it. */
import { formatAmount } from '../../../../events/contract/index.js';
import type { Payment } from '../../../ledger/ledger-client.js';
import { isoTime, isoTimeOrNull } from '../../presentation/amounts.js';

const MINOR_PER_UNIT = 100n;

export function checkoutSessionOf(payment: Payment) {
  return {
    object: 'checkout.session' as const,
    provider: payment.provider,
    reference: payment.reference,
    authorization_url: payment.authorizationUrl,
    credits_awarded: Number(formatAmount(payment.creditNanos)),
    status: payment.status,
    pack_id: payment.packId,
    amount: moneyText(payment.amountMinor),
    currency: payment.currency,
    unit: payment.unit,
    expires_at: isoTimeOrNull(payment.expiresAtMs),
  };
}

type Shown = Pick<
  Payment,
  | 'provider'
  | 'reference'
  | 'packId'
  | 'amountMinor'
  | 'currency'
  | 'unit'
  | 'creditNanos'
  | 'creditedNanos'
  | 'clawedBackNanos'
  | 'reversedMinor'
  | 'openedAtMs'
  | 'verifiedAtMs'
  | 'expiresAtMs'
> & { readonly status: string; readonly mode: string; readonly consumerId: string | null };

export function paymentObjectOf(payment: Shown) {
  return {
    object: 'payment' as const,
    provider: payment.provider,
    reference: payment.reference,
    status: payment.status,
    test: payment.mode === 'test',
    pack_id: payment.packId,
    consumer_id: payment.consumerId,
    amount: moneyText(payment.amountMinor),
    currency: payment.currency,
    unit: payment.unit,
    credits_awarded: Number(formatAmount(payment.creditNanos)),
    credited: formatAmount(payment.creditedNanos),
    clawed_back: formatAmount(payment.clawedBackNanos),
    reversed: moneyText(payment.reversedMinor),
    created_at: isoTime(payment.openedAtMs),
    paid_at: isoTimeOrNull(payment.verifiedAtMs),
    expires_at: isoTimeOrNull(payment.expiresAtMs),
  };
}

/** `1050n` is `10.50`. */
export function moneyText(amountMinor: bigint): string {
  return `${amountMinor / MINOR_PER_UNIT}.${(amountMinor % MINOR_PER_UNIT).toString().padStart(2, '0')}`;
}
