/** What payment commands look like on the ledger's internal protocol. Amounts are bigint already: the protocol tags them. */
import { z } from 'zod';
import { PAYMENT_SOURCES } from '../../../events/contract/index.js';

const id = z.string().min(1).max(80);
const foreignId = z.string().min(1).max(255);
const url = z.string().max(4_096);
const currency = z.string().max(10);
const environment = z.enum(['live', 'test']);

const Open = z.strictObject({
  type: z.literal('OpenCheckout'),
  paymentId: id,
  reference: z.string().min(1).max(100),
  provider: z.string().max(40),
  mode: environment,
  environment,
  accountId: id,
  holder: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('project'), projectId: id }),
    z.strictObject({ kind: z.literal('consumer'), projectId: id, consumerId: id }),
  ]),
  unit: z.string().min(1).max(20),
  starterNanos: z.bigint().nonnegative(),
  packId: z.string().max(64),
  amountMinor: z.bigint(),
  currency,
  creditNanos: z.bigint(),
  attempt: z.string().max(100),
  successUrl: url.nullable(),
  cancelUrl: url.nullable(),
});

const Finding = z.strictObject({
  provider: z.string().max(40),
  mode: environment,
  reference: z.string().max(255),
  providerReference: foreignId,
  providerPaymentId: foreignId,
  accountId: id.nullable(),
  amountMinor: z.bigint(),
  currency,
});

export const PaymentCommandSchema = z.discriminatedUnion('type', [
  Open,
  z.strictObject({
    type: z.literal('OfferCheckout'),
    paymentId: id,
    providerReference: foreignId,
    authorizationUrl: url,
    expiresAtMs: z.number().int(),
  }),
  z.strictObject({ type: z.literal('RecordPayment'), paymentId: id, source: z.enum(PAYMENT_SOURCES), finding: Finding }),
  z.strictObject({
    type: z.literal('RecordFailure'),
    paymentId: id,
    outcome: z.enum(['failed', 'abandoned']),
    reason: z.string().max(200),
  }),
  z.strictObject({
    type: z.literal('RecordReversal'),
    paymentId: id,
    provider: z.string().max(40),
    reversalId: foreignId,
    kind: z.enum(['refund', 'dispute']),
    status: z.enum(['active', 'lifted', 'final']),
    amountMinor: z.bigint(),
    currency,
  }),
  z.strictObject({ type: z.literal('BookPayment'), paymentId: id }),
]);
