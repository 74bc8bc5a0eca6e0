/**
 * Opens a checkout: which payment a request means, its page at the provider, and the one that is there already for who asks twice.
 *
 *     request ──▶ name of the attempt ──▶ CheckoutOpened ──▶ provider makes the page ──▶ CheckoutOffered
 *                      ▲                        │ ended without money: the next name
 *                      └────────────────────────┘
 */
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { accountIdOf } from '../../../events/contract/index.js';
import type { Clock } from '../../../platform/clock.js';
import { type CreditPack, type Preset, packPriceMinor } from '../../../presets/preset-schema.js';
import type { AccountOpening, Payment, PaymentsClient } from '../../ledger/ledger-client.js';
import { type RefusalError, refuse } from '../refusals.js';
import { CheckoutRefusedError, type PaymentProvider, ProviderUnavailableError } from './payment-provider.js';
import { paymentIdOf, referenceOf } from './payment-references.js';

/** Without a key, the same pack for the same payer within this time is the same purchase. */
export const SAME_PURCHASE_WINDOW_MS = 10 * 60 * 1_000;

/** Names tried for one request: purchases of one pack by one payer within the window, or attempts under one key that came to nothing. */
const ATTEMPTS_MAX = 20;

/** Somebody else is making this page at the provider; it comes soon or its maker has died. */
const OFFER_WAIT_MS = 3_000;
const OFFER_POLL_MS = 100;

/** A crash between the provider's answer and its record costs one attempt; the next has a name of its own. */
const OFFER_ROUNDS_MAX = 3;

export type CheckoutOrder = {
  /** `prj_…` or `con_…`: whose account is credited. */
  readonly holderId: string;
  readonly opening: AccountOpening;
  readonly packId: string;
  readonly email: string | null;
  /** The client's own name for this purchase. */
  readonly key: string | null;
  readonly successUrl: string | null;
  readonly cancelUrl: string | null;
};

export type OpenCheckoutDeps = {
  readonly preset: { readonly brand: Pick<Preset['brand'], 'slug'> } & Pick<Preset, 'credit_packs' | 'unit'>;
  readonly provider: PaymentProvider;
  readonly payments: PaymentsClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly publicBaseUrl: string;
};

/** Throws a `RefusalError` for packs that do not exist, keys used for something else, and providers that cannot be reached. */
export async function openCheckout(deps: OpenCheckoutDeps, order: CheckoutOrder): Promise<Payment> {
  const pack = deps.preset.credit_packs.find(({ id }) => id === order.packId);
  if (pack === undefined) throw unknownPack(deps.preset.credit_packs);
  refuseMixing(deps.provider, order.opening.environment);
  for (let round = 1; round <= OFFER_ROUNDS_MAX; round += 1) {
    const attempt = await attemptMeant(deps, order);
    const payment = await openAttempt(deps, order, pack, attempt);
    const offered = payment.status === 'opening' ? await offer(deps, order, pack, payment) : payment;
    if (offered !== null) return offered;
  }
  throw refuse('provider_unavailable', { message: 'The payment provider did not take the checkout. Nothing was paid.' });
}

/** Live credit is never bought with a provider's test money, nor test credit with live money. Farebox's own page is for trying things out. */
function refuseMixing(provider: PaymentProvider, environment: 'live' | 'test'): void {
  if (provider.name === 'local' || provider.mode === environment) return;
  const message = `This is a ${environment} project, and payments here are in ${provider.mode} mode.`;
  throw refuse('conflict', { message });
}

/** The name of the purchase that the request means: one that is under way, or the first free one. */
async function attemptMeant(deps: OpenCheckoutDeps, order: CheckoutOrder): Promise<string> {
  const accountId = accountIdOf(order.holderId);
  const nowMs = deps.clock.nowMs();
  const window = Math.floor(nowMs / SAME_PURCHASE_WINDOW_MS);
  // Clicks on either side of a window's edge are one purchase all the same, so the window before is looked at first.
  const series = order.key === null ? [window - 1, window].map((n) => `window/${sameOrder(order)}/${n}`) : [`key/${order.key}`];
  for (const [index, name] of series.entries()) {
    for (let n = 0; n < ATTEMPTS_MAX; n += 1) {
      const attempt = digestOf(`${name}/${n}`);
      const known = await deps.payments.payment(paymentIdOf(accountId, attempt));
      if (known === null && index < series.length - 1) break;
      if (known === null || isMeant(known, order, nowMs)) return attempt;
    }
  }
  throw refuse('rate_limited', { message: 'Too many checkouts of this pack in a short time.', retryAfterSeconds: 60 });
}

/** Under a key also a purchase that is done: who repeats the key wants to know, not to buy again. */
function isMeant(payment: Payment, order: CheckoutOrder, nowMs: number): boolean {
  switch (payment.status) {
    case 'opening':
    case 'pending': {
      const isPayable = payment.expiresAtMs === null || payment.expiresAtMs > nowMs;
      return isPayable && (order.key !== null || payment.openedAtMs > nowMs - SAME_PURCHASE_WINDOW_MS);
    }
    case 'failed':
    case 'abandoned':
    case 'mismatched':
      return false;
    default:
      return order.key !== null;
  }
}

async function openAttempt(deps: OpenCheckoutDeps, order: CheckoutOrder, pack: CreditPack, attempt: string): Promise<Payment> {
  const accountId = accountIdOf(order.holderId);
  const paymentId = paymentIdOf(accountId, attempt);
  const { holder, unit, environment, starterNanos } = order.opening;
  const outcome = await deps.payments.submitPayment({
    type: 'OpenCheckout',
    paymentId,
    reference: referenceOf(deps.preset.brand.slug, paymentId),
    provider: deps.provider.name,
    mode: deps.provider.mode,
    environment,
    accountId,
    holder,
    unit,
    starterNanos,
    packId: pack.id,
    amountMinor: packPriceMinor(pack),
    currency: pack.price.currency,
    creditNanos: pack.credits,
    attempt,
    successUrl: order.successUrl,
    cancelUrl: order.cancelUrl,
  });
  if (outcome.status === 'done') return outcome.payment;
  if (outcome.reason === 'payment_exists_with_different_terms') throw refuse('idempotency_key_reused');
  throw refuse('internal_error', { cause: outcome.reason });
}

/** The payment with its page at the provider; `null` when the provider would not make one, and the attempt has ended. */
async function offer(deps: OpenCheckoutDeps, order: CheckoutOrder, pack: CreditPack, payment: Payment): Promise<Payment | null> {
  const { provider, payments } = deps;
  const { paymentId, reference, accountId, amountMinor, currency, openedAtMs } = payment;
  const back = `${deps.publicBaseUrl.replace(/\/+$/, '')}/checkout/${reference}`;
  try {
    const made = await provider.offer({
      reference,
      paymentId,
      accountId,
      openedAtMs,
      packName: pack.name,
      amountMinor,
      currency,
      email: order.email,
      returnUrl: `${back}/return`,
      cancelUrl: `${back}/cancel`,
    });
    const outcome = await payments.submitPayment({ type: 'OfferCheckout', paymentId, ...made });
    return outcome.status === 'done' ? outcome.payment : null;
  } catch (error) {
    if (error instanceof ProviderUnavailableError) {
      throw refuse('provider_unavailable', { message: 'The payment provider cannot be reached. Nothing was paid.', cause: error });
    }
    if (!(error instanceof CheckoutRefusedError)) throw error;
    // The second of two clicks: the provider knows the reference from the first, whose page is about to be recorded.
    const made = await offeredByAnother(payments, paymentId);
    if (made !== null) return made;
    deps.logger.warn({ err: error, reference }, 'the payment provider refused a checkout');
    await payments.submitPayment({ type: 'RecordFailure', paymentId, outcome: 'failed', reason: 'the provider refused the checkout' });
    return null;
  }
}

async function offeredByAnother(payments: PaymentsClient, paymentId: string): Promise<Payment | null> {
  const untilMs = performance.now() + OFFER_WAIT_MS;
  for (;;) {
    const payment = await payments.payment(paymentId);
    if (payment !== null && payment.status !== 'opening') return payment.authorizationUrl === null ? null : payment;
    if (performance.now() >= untilMs) return null;
    await new Promise((resolve) => setTimeout(resolve, OFFER_POLL_MS));
  }
}

function sameOrder({ packId, successUrl, cancelUrl }: CheckoutOrder): string {
  return digestOf(JSON.stringify([packId, successUrl, cancelUrl]));
}

/** Keys are of any text; digests are short and of one alphabet. */
function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 40);
}

function unknownPack(packs: readonly CreditPack[]): RefusalError {
  const offered = packs.length === 0 ? 'None is offered.' : `Offered are: ${packs.map(({ id }) => id).join(', ')}.`;
  return refuse('invalid_value', { message: `There is no such credit pack. ${offered}`, param: 'pack_id' });
}
