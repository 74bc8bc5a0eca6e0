/**
 * The pages of a checkout: Farebox's own page to pay at where the provider is `local`, and for every provider the page that the browser comes
 * back to, which asks the provider itself instead of waiting for a webhook. Who has the reference (130 random bits) may look.
 */

import { formatAmount } from '../../../../events/contract/index.js';
import type { Clock } from '../../../../platform/clock.js';
import type { Preset } from '../../../../presets/preset-schema.js';
import type { Payment } from '../../../ledger/ledger-client.js';
import { LruMap } from '../../limits/lru-map.js';
import type { Payments } from '../../payments/create-payments.js';
import { escapeHtml, type Page, readForm, sendPage, sendRedirect } from '../../payments/html-page.js';
import { noteBooking } from '../../payments/note-booking.js';
import { ProviderUnavailableError } from '../../payments/payment-provider.js';
import { paymentIdOfReference } from '../../payments/payment-references.js';
import { syncPayment } from '../../payments/sync-payment.js';
import type { LastRevisions } from '../../read-model/last-revisions.js';
import { refuse } from '../../refusals.js';
import { defineRoute, type RouteDefinition } from '../../route.js';
import { moneyText } from '../checkout/payment-object.js';
import { ReferenceParams } from '../checkout/schemas.js';
import { isToken, newNonce, nonceCookie, nonceOf, oneTimeToken } from './one-time-token.js';

export type LocalCheckoutDeps = {
  readonly payments?: Payments | null;
  readonly lastRevisions: LastRevisions;
  readonly preset: { readonly brand: Pick<Preset['brand'], 'display_name'> };
  readonly clock: Clock;
  readonly publicBaseUrl: string;
  /** Keys the one-time tokens; every instance has the same. */
  readonly adminKey: string;
};

/** The return page is public and reloads itself; the provider is asked about one payment no more often than this. */
const LOOKS_APART_MS = 2_000;
const LOOKS_REMEMBERED_MAX = 10_000;
const REFRESH_SECONDS = 3;
const PAGE = { 200: { description: 'The page', contentType: 'text/html' } };
const PAID = new Set<Payment['status']>(['paid', 'credited', 'disputed', 'partially_refunded', 'refunded']);

export function localCheckoutRoutes(deps: LocalCheckoutDeps): RouteDefinition[] {
  const looks = new LruMap<string, number>(LOOKS_REMEMBERED_MAX);
  const sync = async (payment: Payment): Promise<Payment> => {
    const { payments } = deps;
    const nowMs = deps.clock.nowMs();
    if (payments === undefined || payments === null || nowMs - (looks.get(payment.paymentId) ?? 0) < LOOKS_APART_MS) return payment;
    looks.set(payment.paymentId, nowMs);
    return (await syncPayment({ ...payments, onBooked: noteBooking(deps.lastRevisions) }, payment.paymentId, 'return')) ?? payment;
  };
  return [showRoute(deps), payRoute(deps), returnRoute(deps, sync), cancelRoute(deps)];
}

function showRoute(deps: LocalCheckoutDeps): RouteDefinition {
  return defineRoute({
    method: 'get',
    path: '/checkout/:reference',
    operationId: 'showLocalCheckout',
    summary: 'Farebox’s own checkout page, for trying payments out',
    tag: 'Billing',
    policy: 'public',
    params: ReferenceParams,
    responses: PAGE,
    handle: async ({ request, response }, { params }) => {
      const payment = await paymentNamed(deps, params.reference);
      if (!isPayableHere(deps, payment)) return sendPage(response, 200, statusPage(deps, payment));
      const nonce = nonceOf(request) ?? newNonce();
      const path = `/checkout/${payment.reference}`;
      response.setHeader('Set-Cookie', nonceCookie(nonce, path, deps.publicBaseUrl.startsWith('https:')));
      return sendPage(response, 200, payPage(deps, payment, oneTimeToken(deps.adminKey, payment, nonce)));
    },
  });
}

function payRoute(deps: LocalCheckoutDeps): RouteDefinition {
  return defineRoute({
    method: 'post',
    path: '/checkout/:reference',
    operationId: 'payLocalCheckout',
    summary: 'Pay at Farebox’s own checkout page, with the one-time token of its form',
    tag: 'Billing',
    policy: 'public',
    params: ReferenceParams,
    responses: { 303: { description: 'Paid; the return page goes on' } },
    handle: async ({ request, response }, { params }) => {
      const payment = await paymentNamed(deps, params.reference);
      const form = await readForm(request);
      const nonce = nonceOf(request);
      const isMeant = nonce !== null && isToken(form.get('token') ?? '', oneTimeToken(deps.adminKey, payment, nonce));
      const back = `${deps.publicBaseUrl.replace(/\/+$/, '')}/checkout/${payment.reference}`;
      // A click on a stale page, or the second of two: show how things stand.
      if (!isPayableHere(deps, payment)) return sendRedirect(response, `${back}/return`);
      if (!isMeant) throw refuse('conflict', { message: 'This page is out of date. Load it again, then pay.' });
      await deps.payments?.local?.pay(payment.reference);
      return sendRedirect(response, `${back}/return`);
    },
  });
}

function returnRoute(deps: LocalCheckoutDeps, sync: (payment: Payment) => Promise<Payment>): RouteDefinition {
  return defineRoute({
    method: 'get',
    path: '/checkout/:reference/return',
    operationId: 'returnFromCheckout',
    summary: 'Where the browser comes back to: asks the provider, then goes on to success_url',
    tag: 'Billing',
    policy: 'public',
    params: ReferenceParams,
    responses: { ...PAGE, 303: { description: 'Paid: on to success_url' } },
    handle: async ({ response }, { params }) => {
      const known = await paymentNamed(deps, params.reference);
      const payment = known.status === 'pending' || known.status === 'paid' || known.status === 'failed' ? await tried(sync, known) : known;
      if (PAID.has(payment.status) && payment.successUrl !== null) return sendRedirect(response, payment.successUrl);
      return sendPage(response, 200, statusPage(deps, payment));
    },
  });
}

/** A provider out of reach is no reason to show an error: the page looks again. */
async function tried(sync: (payment: Payment) => Promise<Payment>, payment: Payment): Promise<Payment> {
  try {
    return await sync(payment);
  } catch (error) {
    if (error instanceof ProviderUnavailableError) return payment;
    throw error;
  }
}

function cancelRoute(deps: LocalCheckoutDeps): RouteDefinition {
  return defineRoute({
    method: 'get',
    path: '/checkout/:reference/cancel',
    operationId: 'cancelCheckout',
    summary: 'Where the browser comes back to when the payer gives up: goes on to cancel_url',
    tag: 'Billing',
    policy: 'public',
    params: ReferenceParams,
    responses: { ...PAGE, 303: { description: 'On to cancel_url' } },
    handle: async ({ response }, { params }) => {
      const payment = await paymentNamed(deps, params.reference);
      if (payment.cancelUrl !== null && !PAID.has(payment.status)) return sendRedirect(response, payment.cancelUrl);
      return sendPage(response, 200, statusPage(deps, payment));
    },
  });
}

async function paymentNamed({ payments }: LocalCheckoutDeps, reference: string): Promise<Payment> {
  const paymentId = paymentIdOfReference(reference);
  const payment = paymentId === null ? null : ((await payments?.payments.payment(paymentId)) ?? null);
  if (payment === null || payment.reference !== reference) throw refuse('resource_not_found', { message: 'There is no such checkout.' });
  return payment;
}

function isPayableHere({ payments, clock }: LocalCheckoutDeps, payment: Payment): boolean {
  const isOpen = payment.status === 'pending' && (payment.expiresAtMs === null || payment.expiresAtMs > clock.nowMs());
  return isOpen && payments?.local !== null && payments?.local !== undefined && payment.provider === 'local';
}

function payPage({ preset }: LocalCheckoutDeps, payment: Payment, token: string): Page {
  const brand = escapeHtml(preset.brand.display_name);
  const path = `/checkout/${payment.reference}`;
  const cancel = payment.cancelUrl === null ? '' : `<p><a href="${path}/cancel">Go back without paying</a></p>`;
  return {
    title: `Checkout · ${preset.brand.display_name}`,
    // Chrome applies the policy to redirects of the answer too, and the return page may lead to success_url.
    formAction: payment.successUrl === null ? "'self'" : `'self' ${new URL(payment.successUrl).origin}`,
    content: `<h1>Checkout</h1>
<p class="test"><strong>Test mode.</strong> No real money moves: this page stands in for a payment provider. A click pays.</p>
<p>${brand}: <strong>${escapeHtml(creditText(payment))}</strong> for <strong>${escapeHtml(priceText(payment))}</strong></p>
<form method="post" action="${path}">
<input type="hidden" name="token" value="${token}">
<button type="submit">Pay ${escapeHtml(priceText(payment))} (test)</button>
</form>
${cancel}
<p>Reference: <code>${escapeHtml(payment.reference)}</code></p>`,
  };
}

function statusPage({ preset }: LocalCheckoutDeps, payment: Payment): Page {
  const [heading, text] = statusTexts(payment);
  const isWaiting = payment.status === 'pending' || payment.status === 'paid';
  return {
    title: `${heading} · ${preset.brand.display_name}`,
    ...(isWaiting ? { refreshSeconds: REFRESH_SECONDS } : {}),
    content: `<h1>${escapeHtml(heading)}</h1>
<p>${escapeHtml(text)}</p>
<p>Reference: <code>${escapeHtml(payment.reference)}</code></p>`,
  };
}

function statusTexts(payment: Payment): readonly [string, string] {
  switch (payment.status) {
    case 'credited':
      return ['Paid', `${creditText(payment)} can be spent now.`];
    case 'paid':
      return ['Paid', 'The payment has arrived; the credit follows in a moment.'];
    case 'opening':
    case 'pending':
      return ['Waiting for the payment', 'The payment has not been confirmed yet. This page looks again by itself.'];
    case 'mismatched':
      return [
        'Please get in touch',
        'What was paid is not what was asked for, so nothing was credited. The operator of this service can help.',
      ];
    case 'failed':
    case 'abandoned':
      return ['Not paid', 'This checkout ended without a payment. Nothing was credited; a new one can be started.'];
    case 'disputed':
    case 'partially_refunded':
    case 'refunded':
      return ['Refunded or disputed', 'Money of this payment went back, and its credit with it.'];
  }
}

function creditText({ creditNanos, unit }: Payment): string {
  return unit === 'credit' ? `${formatAmount(creditNanos)} credits` : `${formatAmount(creditNanos)} ${unit} of credit`;
}

function priceText({ amountMinor, currency }: Payment): string {
  return `${moneyText(amountMinor)} ${currency}`;
}
