/**
 * Paystack over its HTTP API (https://paystack.com/docs/api/): initialize a transaction, verify it by reference, list transactions, refunds and
 * disputes. Amounts are in kobo, the hundredths of its currencies. Webhooks carry `x-paystack-signature`, the HMAC-SHA512 of the raw body under
 * the secret key, in hex; anything but 200 is repeated for 72 hours.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import type { Environment } from '../../../events/contract/index.js';
import {
  CheckoutRefusedError,
  type CheckoutRequest,
  LISTED_PAYMENTS_MAX,
  type ListedPayment,
  type PaymentName,
  type PaymentProvider,
  type ProviderPayment,
  type ProviderReversal,
  ProviderUnavailableError,
  type WebhookReading,
} from './payment-provider.js';
import { paymentIdOfReference } from './payment-references.js';

export const PAYSTACK_API_URL = 'https://api.paystack.co';

/** Their own clients wait as long. */
const ANSWER_TIMEOUT_MS = 15_000;
/** A page of a hundred transactions is about 300 KB. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
/** The most that Paystack gives at once. */
const PAGE_MAX = 100;
/** Their checkout pages end by themselves at an unstated time; after this a new attempt gets a page of its own. */
const CHECKOUT_LIFE_MS = 60 * 60 * 1_000;

export type PaystackOptions = {
  /** `sk_live_…` or `sk_test_…`. */
  readonly secretKey: string;
  /** Of payers without an address, since Paystack wants one. */
  readonly fallbackEmail: string;
  /** `PAYSTACK_API_URL` except in tests. */
  readonly apiUrl?: string;
};

const Answer = z.looseObject({ status: z.boolean(), message: z.string().default(''), data: z.unknown().optional() });
const Initialized = z.looseObject({ authorization_url: z.url({ protocol: /^https?$/ }), reference: z.string() });
const amount = z.coerce.string().regex(/^\d{1,15}$/);
const Transaction = z.looseObject({
  id: z.number().int(),
  domain: z.string(),
  status: z.string(),
  reference: z.string(),
  amount,
  currency: z.string(),
  metadata: z.unknown().optional(),
});
const Refund = z.looseObject({
  id: z.number().int(),
  transaction: z.union([z.number().int(), z.looseObject({ id: z.number().int() })]),
  transaction_reference: z.string().optional(),
  amount,
  currency: z.string(),
  status: z.string(),
});
const Dispute = z.looseObject({
  id: z.number().int(),
  status: z.string(),
  resolution: z.string().nullish(),
  refund_amount: amount.nullish(),
  currency: z.string().nullish(),
  transaction: z.looseObject({
    id: z.number().int(),
    reference: z.string().nullish(),
    amount: amount.nullish(),
    currency: z.string().nullish(),
  }),
});
const Webhook = z.looseObject({
  event: z.string(),
  data: z.looseObject({
    domain: z.string().optional(),
    reference: z.unknown().optional(),
    transaction_reference: z.unknown().optional(),
    transaction: z.unknown().optional(),
  }),
});

export function paystackProvider(options: PaystackOptions): PaymentProvider {
  const mode: Environment = options.secretKey.startsWith('sk_live_') ? 'live' : 'test';
  const api = paystackApi(options);

  async function transactionOf(name: PaymentName): Promise<z.infer<typeof Transaction> | null> {
    const answer = await api.get(`/transaction/verify/${encodeURIComponent(paystackReference(name.reference))}`);
    return answer === null ? null : parsed(Transaction, answer);
  }

  return {
    name: 'paystack',
    mode,
    async offer(request) {
      const data = parsed(Initialized, await api.post('/transaction/initialize', initializeBody(request, options.fallbackEmail)));
      return {
        providerReference: data.reference,
        authorizationUrl: data.authorization_url,
        expiresAtMs: request.openedAtMs + CHECKOUT_LIFE_MS,
      };
    },
    async payment(name) {
      const transaction = await transactionOf(name);
      return transaction === null ? { status: 'unknown' } : paymentOf(transaction);
    },
    async reversals(name) {
      const transaction = await transactionOf(name);
      if (transaction === null) return [];
      const refunds = await api.list('/refund', { transaction: String(transaction.id) }, Refund);
      const disputes = await api.list('/dispute', { transaction: String(transaction.id) }, Dispute);
      return [
        ...refunds.filter((refund) => idOf(refund.transaction) === transaction.id).map(refundOf),
        ...disputes.filter((dispute) => dispute.transaction.id === transaction.id).map((dispute) => disputeOf(dispute, transaction)),
      ];
    },
    async list(window) {
      const query = { from: isoTime(window.fromMs), to: isoTime(window.toMs) };
      const transactions = await api.list('/transaction', query, Transaction);
      return { payments: transactions.map(listedPaymentOf), reversed: await reversedReferences(api, query) };
    },
    readWebhook: async (rawBody, headers) => readWebhook(rawBody, headers['x-paystack-signature'], options.secretKey, mode),
  };
}

/** Paystack takes letters, digits, `-`, `.` and `=` in a reference. */
function paystackReference(reference: string): string {
  return reference.replaceAll('_', '-');
}

function ownReference(reference: string): string | null {
  if (paymentIdOfReference(reference) === null) return null;
  return reference.replace(/-topup-/, '_topup_');
}

function initializeBody(request: CheckoutRequest, fallbackEmail: string) {
  return {
    email: request.email ?? fallbackEmail,
    amount: request.amountMinor.toString(),
    currency: request.currency,
    reference: paystackReference(request.reference),
    callback_url: request.returnUrl,
    metadata: JSON.stringify({ farebox_account: request.accountId, cancel_action: request.cancelUrl, pack: request.packName }),
  };
}

/** `reversed`: paid and then given back; the refunds say how much. */
function paymentOf(transaction: z.infer<typeof Transaction>): ProviderPayment {
  switch (transaction.status) {
    case 'success':
    case 'reversed':
      return {
        status: 'paid',
        finding: {
          provider: 'paystack',
          mode: transaction.domain === 'live' ? 'live' : 'test',
          reference: ownReference(transaction.reference) ?? transaction.reference,
          providerReference: transaction.reference,
          providerPaymentId: String(transaction.id),
          accountId: accountIdOf(transaction.metadata),
          amountMinor: BigInt(transaction.amount),
          currency: transaction.currency.toUpperCase(),
        },
      };
    case 'failed':
      return { status: 'failed', reason: 'the provider says that the payment failed' };
    default:
      // `abandoned` is what every transaction is called until its payer has entered something; it may still be paid.
      return { status: 'pending' };
  }
}

/** They give metadata back as they got it: as an object, or as its text. */
function accountIdOf(metadata: unknown): string | null {
  const value = typeof metadata === 'string' ? objectFromText(metadata) : metadata;
  const account = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)['farebox_account'] : undefined;
  return typeof account === 'string' ? account.slice(0, 80) : null;
}

function objectFromText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function refundOf(refund: z.infer<typeof Refund>): ProviderReversal {
  return {
    reversalId: `refund-${refund.id}`,
    kind: 'refund',
    status: refund.status === 'failed' ? 'lifted' : 'active',
    amountMinor: BigInt(refund.amount),
    currency: refund.currency.toUpperCase(),
  };
}

/** A dispute that the merchant accepts becomes a refund of its own amount, so only an open one stands for itself. */
function disputeOf(dispute: z.infer<typeof Dispute>, transaction: z.infer<typeof Transaction>): ProviderReversal {
  const isAccepted = dispute.status === 'resolved' && /accepted/.test(dispute.resolution ?? '');
  const status = dispute.status !== 'resolved' ? 'active' : isAccepted ? 'final' : 'lifted';
  return {
    reversalId: `dispute-${dispute.id}`,
    kind: 'dispute',
    status,
    amountMinor: BigInt(dispute.refund_amount ?? dispute.transaction.amount ?? transaction.amount),
    currency: (dispute.currency ?? transaction.currency).toUpperCase(),
  };
}

function listedPaymentOf(transaction: z.infer<typeof Transaction>): ListedPayment {
  return {
    reference: ownReference(transaction.reference),
    isPaid: transaction.status === 'success' || transaction.status === 'reversed',
    amountMinor: BigInt(transaction.amount),
    currency: transaction.currency.toUpperCase(),
  };
}

type PaystackApi = ReturnType<typeof paystackApi>;

/** Refunds name their transaction by number only, which is looked up. */
async function reversedReferences(api: PaystackApi, query: Readonly<Record<string, string>>): Promise<string[]> {
  const references = new Set<string>();
  const add = (reference: string | null | undefined) => {
    const own = reference === null || reference === undefined ? null : ownReference(reference);
    if (own !== null) references.add(own);
  };
  for (const { transaction, transaction_reference: known } of await api.list('/refund', query, Refund)) {
    if (known !== undefined) add(known);
    else {
      const found = await api.get(`/transaction/${idOf(transaction)}`);
      if (found !== null) add(parsed(Transaction, found).reference);
    }
  }
  for (const dispute of await api.list('/dispute', query, Dispute)) add(dispute.transaction.reference);
  return [...references];
}

function readWebhook(rawBody: Buffer, signature: string | string[] | undefined, secretKey: string, mode: Environment): WebhookReading {
  const expected = createHmac('sha512', secretKey).update(rawBody).digest();
  const given = typeof signature === 'string' && /^[0-9a-f]{128}$/i.test(signature) ? Buffer.from(signature, 'hex') : null;
  if (given === null || !timingSafeEqual(given, expected)) return { status: 'forged', reason: 'the signature is not Paystack’s' };
  const webhook = Webhook.safeParse(objectFromText(rawBody.toString('utf8')));
  if (!webhook.success) return { status: 'ignored' };
  const { domain, reference, transaction_reference: ofRefund, transaction } = webhook.data.data;
  if (domain !== undefined && domain !== mode) return { status: 'forged', reason: 'the event is of another mode' };
  const ofDispute = (transaction as { reference?: unknown } | null | undefined)?.reference;
  for (const candidate of [ofRefund, ofDispute, reference]) {
    const own = typeof candidate === 'string' ? ownReference(candidate) : null;
    if (own !== null) return { status: 'concerns', reference: own };
  }
  return { status: 'ignored' };
}

function paystackApi({ secretKey, apiUrl = PAYSTACK_API_URL }: PaystackOptions) {
  /** The answer's `data`; `null` when there is no such thing. */
  async function call(method: 'GET' | 'POST', path: string, body?: unknown): Promise<unknown> {
    let status: number;
    let text: string;
    try {
      const response = await fetch(`${apiUrl}${path}`, {
        method,
        headers: { authorization: `Bearer ${secretKey}`, 'content-type': 'application/json' },
        redirect: 'error',
        signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      status = response.status;
      text = await response.text();
    } catch (error) {
      throw new ProviderUnavailableError('Paystack cannot be reached', { cause: error });
    }
    const answer = text.length > ANSWER_BYTES_MAX ? null : Answer.safeParse(objectFromText(text));
    if (answer === null || !answer.success) throw new ProviderUnavailableError(`Paystack answered ${status} and no JSON of its own`);
    if (status === 200 && answer.data.status) return answer.data.data;
    if (method === 'GET' && (status === 404 || (status === 400 && /not found/i.test(answer.data.message)))) return null;
    if (status >= 500 || status === 429 || status === 401) {
      throw new ProviderUnavailableError(`Paystack answered ${status}: ${answer.data.message.slice(0, 200)}`);
    }
    throw new CheckoutRefusedError(`Paystack refused: ${answer.data.message.slice(0, 200)}`);
  }
  return {
    get: (path: string) => call('GET', path),
    post: (path: string, body: unknown) => call('POST', path, body),
    async list<Schema extends z.ZodType>(
      path: string,
      query: Readonly<Record<string, string>>,
      schema: Schema,
    ): Promise<z.infer<Schema>[]> {
      const items: z.infer<Schema>[] = [];
      for (let page = 1; ; page += 1) {
        const search = new URLSearchParams({ ...query, perPage: String(PAGE_MAX), page: String(page) });
        const found = parsed(z.array(schema), (await call('GET', `${path}?${search}`)) ?? []);
        items.push(...found);
        if (found.length < PAGE_MAX) return items;
        if (items.length >= LISTED_PAYMENTS_MAX)
          throw new ProviderUnavailableError(`more than ${LISTED_PAYMENTS_MAX} entries: ask for a shorter time`);
      }
    },
  };
}

function parsed<Schema extends z.ZodType>(schema: Schema, value: unknown): z.infer<Schema> {
  const result = schema.safeParse(value);
  if (!result.success)
    throw new ProviderUnavailableError('Paystack answered something else than its documentation says', { cause: result.error });
  return result.data;
}

function idOf(transaction: number | { readonly id: number }): number {
  return typeof transaction === 'number' ? transaction : transaction.id;
}

function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
