/** Payments through Stripe Checkout with the official SDK: the same guarantees as with Paystack, by other means. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { stripeProvider } from './stripe-provider.js';
import { type PaymentsApi, startPaymentsApi } from './testing/payments-api.js';
import { paystackWebhook } from './testing/paystack-server.js';
import { STRIPE_KEY, STRIPE_WEBHOOK_SECRET, type StripeServer, startStripeServer, stripeWebhook } from './testing/stripe-server.js';

const USD = 1_000_000_000n;
/** Stripe's own tolerance is five minutes. */
const TOO_OLD_SECONDS = 400;
let stripe: StripeServer;
let api: PaymentsApi;
let projectId: string;
let key: string;
let made = 0;
beforeAll(async () => {
  stripe = await startStripeServer();
  const options = { secretKey: STRIPE_KEY, webhookSecret: STRIPE_WEBHOOK_SECRET, host: stripe.host };
  api = await startPaymentsApi({ preset: 'farebox', provider: stripeProvider(options) });
});
afterAll(async () => {
  expect(await api.verify()).toEqual([]);
  await api.close();
  await stripe.close();
});
beforeEach(async () => {
  made += 1;
  ({ projectId, key } = await api.signUp(`Project ${made}`));
});

const checkout = async (body: object = { pack_id: 'usd_20' }) => (await api.call('/v1/billing/checkout', { key, json: body })).body;
const deliver = (webhook: { text: string; headers: Record<string, string> }) => api.call('/webhooks/stripe', webhook);
const completed = (reference: string) => stripeWebhook('checkout.session.completed', stripe.sessionOf(reference));

describe('Stripe', () => {
  test('a double click makes one session, which says what is bought and whose it is', async () => {
    const [one, other] = await Promise.all([checkout(), checkout()]);
    expect(one).toMatchObject({ provider: 'stripe', credits_awarded: 20, amount: '20.00', currency: 'USD', status: 'pending' });
    expect(other.authorization_url).toBe(one.authorization_url);
    const session = stripe.sessionOf(one.reference);
    expect(session).toMatchObject({
      amount_total: 2_000,
      currency: 'usd',
      success_url: `https://farebox.example/checkout/${one.reference}/return`,
    });
    expect([...stripe.sessions.values()].filter((known) => known.client_reference_id === one.reference)).toHaveLength(1);
  });

  test('duplicated, with the return and the reconciliation at once: credited once', async () => {
    const { reference } = await checkout();
    stripe.pay(reference);
    await Promise.all([
      deliver(completed(reference)),
      deliver(completed(reference)),
      api.call(`/checkout/${reference}/return`),
      api.reconcile(),
    ]);
    expect(await api.moneyOf(projectId)).toEqual([20n * USD]);
  });

  test('completed and not yet paid waits for the money of a slow method', async () => {
    const { reference } = await checkout();
    stripe.pay(reference, { payment_status: 'unpaid' });
    expect((await deliver(completed(reference))).status).toBe(200);
    expect(await api.moneyOf(projectId)).toEqual([]);
    stripe.pay(reference);
    await deliver(stripeWebhook('checkout.session.async_payment_succeeded', stripe.sessionOf(reference)));
    expect(await api.moneyOf(projectId)).toEqual([20n * USD]);
  });

  test('forged, too old, of live mode, unsigned or Paystack’s: 400', async () => {
    const { reference } = await checkout();
    stripe.pay(reference);
    const session = stripe.sessionOf(reference);
    const forged = [
      stripeWebhook('checkout.session.completed', session, { secret: 'whsec_of_somebody_else' }),
      stripeWebhook('checkout.session.completed', session, { timestamp: Math.floor(Date.now() / 1_000) - TOO_OLD_SECONDS }),
      stripeWebhook('checkout.session.completed', session, { livemode: true }),
      { ...completed(reference), headers: {} },
      paystackWebhook('charge.success', { reference }),
    ];
    for (const webhook of forged) expect((await deliver(webhook)).status).toBe(400);
    expect((await api.call('/webhooks/paystack', paystackWebhook('charge.success', { reference }))).status).toBe(404);
    expect(await api.moneyOf(projectId)).toEqual([]);
  });

  test.each([
    ['amount', { amount_total: 100 }],
    ['currency', { currency: 'eur' }],
    ['account', { metadata: { farebox_account: 'acc_other' } }],
    ['mode', { livemode: true }],
  ])('another %s than was asked for is never credited', async (_name, changes) => {
    const { reference } = await checkout();
    stripe.pay(reference, changes);
    await deliver(completed(reference));
    expect(await api.moneyOf(projectId)).toEqual([]);
    expect((await api.call(`/v1/payments/${reference}`, { key })).body.status).toBe('mismatched');
  });

  test('of a shop’s own sessions, and of intents that are none of ours: 200', async () => {
    const foreign = [
      stripeWebhook('checkout.session.completed', { object: 'checkout.session', id: 'cs_x', client_reference_id: 'order 7' }),
      stripeWebhook('charge.dispute.created', { object: 'dispute', id: 'dp_x', payment_intent: 'pi_unknown' }),
      stripeWebhook('customer.created', { object: 'customer', id: 'cus_x' }),
    ];
    for (const webhook of foreign) expect((await deliver(webhook)).body).toEqual({ received: true, ignored: true });
  });

  test('parts refunded take their share, a refund that fails gives it back', async () => {
    const { reference } = await checkout();
    stripe.pay(reference);
    await deliver(completed(reference));
    const refund = stripe.refund(reference, 500);
    await deliver(stripeWebhook('refund.created', refund));
    await deliver(stripeWebhook('charge.refunded', { object: 'charge', metadata: { farebox_reference: reference } }));
    expect(await api.moneyOf(projectId)).toEqual([20n * USD, -5n * USD]);
    refund['status'] = 'failed';
    await deliver(stripeWebhook('refund.failed', refund));
    expect(await api.moneyOf(projectId)).toEqual([20n * USD, -5n * USD, 5n * USD]);
  });

  test('a dispute that was never told is found by reconciliation; lost, it stays taken', async () => {
    const { reference } = await checkout();
    stripe.pay(reference);
    await deliver(completed(reference));
    const dispute = stripe.dispute(reference);
    expect(await api.reconcile()).toContainEqual({ kind: 'reversed_now', reference });
    expect((await api.call(`/v1/payments/${reference}`, { key })).body.status).toBe('disputed');
    dispute['status'] = 'lost';
    await deliver(stripeWebhook('charge.dispute.closed', dispute));
    expect(await api.moneyOf(projectId)).toEqual([20n * USD, -20n * USD]);
    expect((await api.call(`/v1/payments/${reference}`, { key })).body.status).toBe('refunded');
  });

  test('an inquiry that moves no money takes none', async () => {
    const { reference } = await checkout();
    stripe.pay(reference);
    await deliver(completed(reference));
    const inquiry = Object.assign(stripe.dispute(reference), { status: 'warning_needs_response' });
    await deliver(stripeWebhook('charge.dispute.created', inquiry));
    expect(await api.moneyOf(projectId)).toEqual([20n * USD]);
  });

  test('a session that expired ends the payment; the next click gets another', async () => {
    const { reference } = await checkout();
    Object.assign(stripe.sessionOf(reference), { status: 'expired' });
    await deliver(stripeWebhook('checkout.session.expired', stripe.sessionOf(reference)));
    expect((await api.call(`/v1/payments/${reference}`, { key })).body.status).toBe('abandoned');
    expect((await checkout()).reference).not.toBe(reference);
  });
});
