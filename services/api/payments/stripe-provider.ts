/**
 * Stripe Checkout through the official SDK: sessions are created, retrieved and listed, webhooks are verified on the raw body with the SDK's own
 * `constructEvent` (which also refuses what was signed more than five minutes ago). Anything but 2xx is repeated for three days.
 */
import Stripe from 'stripe';
import type { Environment } from '../../../events/contract/index.js';
import {
  CheckoutRefusedError,
  type CheckoutRequest,
  LISTED_PAYMENTS_MAX,
  type ListedPayment,
  type PaymentProvider,
  type ProviderPayment,
  type ProviderReversal,
  ProviderUnavailableError,
  type WebhookReading,
} from './payment-provider.js';
import { paymentIdOfReference } from './payment-references.js';

const ANSWER_TIMEOUT_MS = 15_000;
const RETRIES_MAX = 1;
/** The most that Stripe gives at once. */
const PAGE_MAX = 100;
/** Stripe takes from half an hour to a day. */
const CHECKOUT_LIFE_MS = 60 * 60 * 1_000;
/** Name of our reference and account in Stripe's metadata; a payment intent's go to its charge as well. */
const REFERENCE_FIELD = 'farebox_reference';
const ACCOUNT_FIELD = 'farebox_account';

export type StripeOptions = {
  /** `sk_live_…`, `sk_test_…` or a restricted `rk_…`. */
  readonly secretKey: string;
  /** `whsec_…`. */
  readonly webhookSecret: string;
  /** Where a test's Stripe listens. */
  readonly host?: { readonly host: string; readonly port: number; readonly protocol: 'http' };
};

export function stripeProvider(options: StripeOptions): PaymentProvider {
  const mode: Environment = /^[rs]k_live_/.test(options.secretKey) ? 'live' : 'test';
  const stripe = new Stripe(options.secretKey, {
    timeout: ANSWER_TIMEOUT_MS,
    maxNetworkRetries: RETRIES_MAX,
    telemetry: false,
    ...options.host,
  });

  async function intentOf(providerReference: string): Promise<string | null> {
    const session = await stripe.checkout.sessions.retrieve(providerReference);
    return idOf(session.payment_intent);
  }

  async function referenceOfIntent(intent: string | Stripe.PaymentIntent | null): Promise<string | null> {
    const id = idOf(intent);
    if (id === null) return null;
    return ownReference((await stripe.paymentIntents.retrieve(id)).metadata[REFERENCE_FIELD]);
  }

  return {
    name: 'stripe',
    mode,
    offer: (request) =>
      asked(async () => {
        // From the opening: an idempotent request must be the same to the second.
        const expiresAtMs = request.openedAtMs + CHECKOUT_LIFE_MS;
        const session = await stripe.checkout.sessions.create(sessionParams(request, expiresAtMs), { idempotencyKey: request.reference });
        if (session.url === null) throw new ProviderUnavailableError('Stripe gave no page to pay at');
        return { providerReference: session.id, authorizationUrl: session.url, expiresAtMs: session.expires_at * 1_000 };
      }),
    payment: ({ providerReference }) =>
      asked(async () => {
        if (providerReference === null) return { status: 'unknown' };
        return paymentOf(await stripe.checkout.sessions.retrieve(providerReference));
      }),
    reversals: ({ providerReference }) =>
      asked(async () => {
        const intent = providerReference === null ? null : await intentOf(providerReference);
        if (intent === null) return [];
        const refunds = await everyOf(stripe.refunds.list({ payment_intent: intent, limit: PAGE_MAX }));
        const disputes = await everyOf(stripe.disputes.list({ payment_intent: intent, limit: PAGE_MAX }));
        return [...refunds.map(refundOf), ...disputes.map(disputeOf)];
      }),
    list: ({ fromMs, toMs }) =>
      asked(async () => {
        const created = { gte: Math.floor(fromMs / 1_000), lte: Math.ceil(toMs / 1_000) };
        const sessions = await everyOf(stripe.checkout.sessions.list({ created, limit: PAGE_MAX }));
        const refunds = await everyOf(stripe.refunds.list({ created, limit: PAGE_MAX }));
        const disputes = await everyOf(stripe.disputes.list({ created, limit: PAGE_MAX }));
        const reversed = new Set<string>();
        for (const { payment_intent: intent } of [...refunds, ...disputes]) {
          const reference = await referenceOfIntent(intent);
          if (reference !== null) reversed.add(reference);
        }
        return { payments: sessions.map(listedPaymentOf), reversed: [...reversed] };
      }),
    async readWebhook(rawBody, headers) {
      const event = verifiedEvent(stripe, rawBody, headers['stripe-signature'], options.webhookSecret);
      if (event === null) return { status: 'forged', reason: 'the signature is not Stripe’s, or too old' };
      if (event.livemode !== (mode === 'live')) return { status: 'forged', reason: 'the event is of another mode' };
      return asked(() => readingOf(event, referenceOfIntent));
    },
  };
}

function sessionParams(request: CheckoutRequest, expiresAtMs: number): Stripe.Checkout.SessionCreateParams {
  const metadata = { [REFERENCE_FIELD]: request.reference, [ACCOUNT_FIELD]: request.accountId };
  return {
    mode: 'payment',
    line_items: [
      {
        quantity: 1,
        price_data: {
          currency: request.currency.toLowerCase(),
          unit_amount: Number(request.amountMinor),
          product_data: { name: request.packName },
        },
      },
    ],
    client_reference_id: request.reference,
    metadata,
    payment_intent_data: { metadata },
    success_url: request.returnUrl,
    cancel_url: request.cancelUrl,
    expires_at: Math.floor(expiresAtMs / 1_000),
    ...(request.email === null ? {} : { customer_email: request.email }),
  };
}

function paymentOf(session: Stripe.Checkout.Session): ProviderPayment {
  if (session.payment_status === 'paid') {
    return {
      status: 'paid',
      finding: {
        provider: 'stripe',
        mode: session.livemode ? 'live' : 'test',
        reference: session.client_reference_id ?? '',
        providerReference: session.id,
        providerPaymentId: idOf(session.payment_intent) ?? session.id,
        accountId: session.metadata?.[ACCOUNT_FIELD] ?? null,
        amountMinor: BigInt(session.amount_total ?? 0),
        currency: (session.currency ?? '').toUpperCase(),
      },
    };
  }
  // A session that is `complete` and unpaid waits for a slow method of payment, such as a bank transfer.
  return session.status === 'expired' ? { status: 'abandoned', reason: 'the checkout expired' } : { status: 'pending' };
}

function refundOf(refund: Stripe.Refund): ProviderReversal {
  const isUndone = refund.status === 'failed' || refund.status === 'canceled';
  return {
    reversalId: refund.id,
    kind: 'refund',
    status: isUndone ? 'lifted' : 'active',
    amountMinor: BigInt(refund.amount),
    currency: refund.currency.toUpperCase(),
  };
}

/** Early warnings (`warning_…`, `prevented`) move no money. */
function disputeOf(dispute: Stripe.Dispute): ProviderReversal {
  const isHarmless = dispute.status === 'won' || dispute.status === 'prevented' || dispute.status.startsWith('warning_');
  return {
    reversalId: dispute.id,
    kind: 'dispute',
    status: isHarmless ? 'lifted' : dispute.status === 'lost' ? 'final' : 'active',
    amountMinor: BigInt(dispute.amount),
    currency: dispute.currency.toUpperCase(),
  };
}

function listedPaymentOf(session: Stripe.Checkout.Session): ListedPayment {
  return {
    reference: ownReference(session.client_reference_id ?? undefined),
    isPaid: session.payment_status === 'paid',
    amountMinor: BigInt(session.amount_total ?? 0),
    currency: (session.currency ?? '').toUpperCase(),
  };
}

function verifiedEvent(stripe: Stripe, rawBody: Buffer, signature: string | string[] | undefined, secret: string): Stripe.Event | null {
  if (typeof signature !== 'string') return null;
  try {
    return stripe.webhooks.constructEvent(rawBody, signature, secret);
  } catch {
    return null;
  }
}

async function readingOf(
  event: Stripe.Event,
  referenceOfIntent: (intent: string | Stripe.PaymentIntent | null) => Promise<string | null>,
): Promise<WebhookReading> {
  const { object } = event.data as { object: { object?: string } };
  let reference: string | null = null;
  if (object.object === 'checkout.session') reference = ownReference((object as Stripe.Checkout.Session).client_reference_id ?? undefined);
  else if (object.object === 'charge') reference = ownReference((object as Stripe.Charge).metadata[REFERENCE_FIELD]);
  else if (object.object === 'refund') reference = await referenceOfIntent((object as Stripe.Refund).payment_intent);
  else if (object.object === 'dispute') reference = await referenceOfIntent((object as Stripe.Dispute).payment_intent);
  return reference === null ? { status: 'ignored' } : { status: 'concerns', reference };
}

function ownReference(reference: string | undefined): string | null {
  return reference !== undefined && paymentIdOfReference(reference) !== null ? reference : null;
}

function idOf(value: string | { readonly id: string } | null | undefined): string | null {
  if (value === null || value === undefined) return null;
  return typeof value === 'string' ? value : value.id;
}

async function everyOf<Item>(list: AsyncIterable<Item>): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of list) {
    if (items.length >= LISTED_PAYMENTS_MAX)
      throw new ProviderUnavailableError(`more than ${LISTED_PAYMENTS_MAX} entries: ask for a shorter time`);
    items.push(item);
  }
  return items;
}

/** Tells Stripe's refusals of our request from its being out of reach. The text of its errors names no secret. */
async function asked<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Stripe.errors.StripeInvalidRequestError)
      throw new CheckoutRefusedError(`Stripe refused: ${error.message.slice(0, 200)}`, { cause: error });
    if (error instanceof Stripe.errors.StripeError) throw new ProviderUnavailableError(`Stripe: ${error.type}`, { cause: error });
    throw error;
  }
}
