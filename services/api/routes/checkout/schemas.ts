/** Checkouts and payments as the API shows them. */
import { z } from 'zod';
import { amountText, pathId, timeText, unitText } from '../../presentation/fields.js';

const URL_TEXT_MAX = 4_096;
export const PAYMENTS_PAGE_MAX = 100;
export const PAYMENTS_PAGE_DEFAULT = 50;

export const CheckoutRequest = z
  .strictObject({
    pack_id: z
      .string()
      .min(1)
      .max(64)
      .meta({ description: 'Id of a credit pack.', examples: ['credits_10'] }),
    success_url: z.string().max(URL_TEXT_MAX).optional().meta({ description: 'Where the browser goes after the payment; https.' }),
    cancel_url: z.string().max(URL_TEXT_MAX).optional().meta({ description: 'Where the browser goes when the payer gives up; https.' }),
    email: z.email().max(254).optional().meta({ description: 'For the receipt. Consumers have their own.' }),
    idempotency_key: z.string().min(1).max(255).optional().meta({ description: 'The same as the Idempotency-Key header.' }),
  })
  .meta({ id: 'CheckoutRequest' });

const status = z.string().meta({
  description: 'opening, pending, paid, credited, disputed, partially_refunded, refunded, failed, abandoned or mismatched.',
  examples: ['pending'],
});
const reference = z.string().meta({ examples: ['farebox_topup_a1b2c3d4e5f6'] });
const money = z.string().meta({ description: 'In the currency, with two decimals.', examples: ['10.00'] });
const creditsAwarded = z.number().meta({ description: 'Credit that the payment buys, in the unit of the offer.', examples: [100] });

export const CheckoutSession = z
  .object({
    object: z.literal('checkout.session'),
    provider: z.string(),
    reference,
    authorization_url: z.string().nullable().meta({ description: 'The page to send the payer to.' }),
    credits_awarded: creditsAwarded,
    status,
    pack_id: z.string(),
    amount: money,
    currency: z.string(),
    unit: unitText,
    expires_at: timeText.nullable(),
  })
  .meta({ id: 'CheckoutSession' });

export const PaymentObject = z
  .object({
    object: z.literal('payment'),
    provider: z.string(),
    reference,
    status,
    test: z.boolean().meta({ description: 'Whether no real money moved.' }),
    pack_id: z.string(),
    consumer_id: z.string().nullable(),
    amount: money,
    currency: z.string(),
    unit: unitText,
    credits_awarded: creditsAwarded,
    credited: amountText,
    clawed_back: amountText.meta({ description: 'Taken back after refunds and disputes.' }),
    reversed: money.meta({ description: 'Refunded or disputed money.' }),
    created_at: timeText,
    paid_at: timeText.nullable(),
    expires_at: timeText.nullable(),
  })
  .meta({ id: 'Payment' });

export const PaymentList = z
  .object({
    object: z.literal('list'),
    data: z.array(PaymentObject),
    has_more: z.boolean(),
    next_after: z.string().nullable().meta({ description: 'The value of `after` that gives the next page; null on the last.' }),
  })
  .meta({ id: 'PaymentList' });

export const PaymentsQuery = z.object({
  limit: z
    .string()
    .regex(/^\d{1,3}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(1).max(PAYMENTS_PAGE_MAX))
    .default(PAYMENTS_PAGE_DEFAULT)
    .meta({ type: 'integer', description: `1 to ${PAYMENTS_PAGE_MAX}; ${PAYMENTS_PAGE_DEFAULT} by default.` }),
  after: z.string().max(100).optional().meta({ description: 'Reference of the last payment of the previous page.' }),
});

export const ConsumerParams = z.object({ id: pathId });
export const ReferenceParams = z.object({ reference: pathId });
