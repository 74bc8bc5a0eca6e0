/** Payments through Paystack: from the click to the books, and everything that webhooks, networks and people do to that. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { paystackProvider } from './paystack-provider.js';
import { type PaymentsApi, startPaymentsApi } from './testing/payments-api.js';
import { PAYSTACK_KEY, type PaystackServer, paystackWebhook, startPaystackServer } from './testing/paystack-server.js';
import { stripeWebhook } from './testing/stripe-server.js';

const CREDITS = 1_000_000_000n;
let paystack: PaystackServer;
let api: PaymentsApi;
let projectId: string;
let key: string;
let made = 0;
beforeAll(async () => {
  paystack = await startPaystackServer();
  const options = { secretKey: PAYSTACK_KEY, fallbackEmail: 'billing@huru.example', apiUrl: paystack.apiUrl };
  api = await startPaymentsApi({ preset: 'huru', provider: paystackProvider(options) });
});
afterAll(async () => {
  expect(await api.verify()).toEqual([]);
  await api.close();
  await paystack.close();
});
beforeEach(async () => {
  made += 1;
  ({ projectId, key } = await api.signUp(`Project ${made}`));
});

const checkout = (body: object = { pack_id: 'credits_10' }, headers: Record<string, string> = {}) =>
  api.call('/v1/billing/checkout', { key, json: body, headers });
const deliver = ({ text, headers }: ReturnType<typeof paystackWebhook>) => api.call('/webhooks/paystack', { text, headers });
const charged = (reference: string) => paystackWebhook('charge.success', paystack.transaction(reference));

describe('a checkout', () => {
  test('201: what the document prints, and what Paystack is told', async () => {
    const { status, body } = await checkout();
    expect(status).toBe(201);
    expect(body).toMatchObject({ object: 'checkout.session', provider: 'paystack', credits_awarded: 100, status: 'pending' });
    expect(body.reference).toMatch(/^huru_topup_/);
    const told = paystack.transaction(body.reference);
    expect(body.authorization_url).toBe(`https://checkout.paystack.com/${told.id}`);
    expect(told).toMatchObject({ amount: 1_000, currency: 'NGN', email: 'billing@huru.example' });
    expect(told.callback_url).toBe(`https://farebox.example/checkout/${body.reference}/return`);
  });

  test('201: a consumer’s carries its e-mail address and credits the consumer', async () => {
    const consumerId = await api.consumer(projectId, 'jane@example.com');
    const { status, body } = await api.call(`/v1/consumers/${consumerId}/checkout`, { key, json: { pack_id: 'credits_100' } });
    expect([status, body.credits_awarded]).toEqual([201, 1_400]);
    expect(paystack.transaction(body.reference).email).toBe('jane@example.com');
    paystack.pay(body.reference);
    expect((await deliver(charged(body.reference))).body).toEqual({ received: true, ignored: false });
    expect([await api.moneyOf(consumerId), await api.moneyOf(projectId)]).toEqual([[1_400n * CREDITS], []]);
  });

  test('an impatient double click, with or without a key, is one purchase', async () => {
    const same = await Promise.all(Array.from({ length: 6 }, () => checkout()));
    expect(new Set(same.map(({ status, body }) => `${status} ${body.reference} ${body.authorization_url}`)).size).toBe(1);
    const keyed = await Promise.all(
      Array.from({ length: 6 }, () => checkout({ pack_id: 'credits_25' }, { 'Idempotency-Key': 'order 1'.replace(' ', '-') })),
    );
    expect(new Set(keyed.map(({ body }) => body.reference)).size).toBe(1);
    paystack.pay(keyed[0]?.body.reference);
    await deliver(charged(keyed[0]?.body.reference));
    const again = await checkout({ pack_id: 'credits_25' }, { 'Idempotency-Key': 'order-1' });
    expect(again.body).toMatchObject({ reference: keyed[0]?.body.reference, status: 'credited' });
  });

  test('without a key, a purchase that is done, or long ago, does not stand in for a new one', async () => {
    const first = (await checkout()).body.reference;
    paystack.pay(first);
    await deliver(charged(first));
    const second = (await checkout()).body.reference;
    expect(second).not.toBe(first);
    api.passTime(21 * 60 * 1_000);
    expect((await checkout()).body.reference).not.toBe(second);
  });

  test('422: a key that was used for another pack', async () => {
    await checkout({ pack_id: 'credits_10' }, { 'Idempotency-Key': 'k' });
    expect((await checkout({ pack_id: 'credits_25' }, { 'Idempotency-Key': 'k' })).status).toBe(422);
  });

  test.each([
    [400, 'a pack that does not exist', { pack_id: 'credits_9999' }],
    [400, 'no pack', {}],
    [400, 'a page over plain http', { pack_id: 'credits_10', success_url: 'http://shop.example/' }],
    [400, 'a page that is a script', { pack_id: 'credits_10', success_url: 'javascript:alert(1)' }],
    [400, 'a page with credentials', { pack_id: 'credits_10', cancel_url: 'https://a:b@shop.example/' }],
    [400, 'a page that is too long', { pack_id: 'credits_10', cancel_url: `https://shop.example/${'x'.repeat(2_100)}` }],
    [400, 'an unknown parameter', { pack_id: 'credits_10', amount: '1' }],
  ])('%s: %s, and nothing is opened', async (status, _name, body) => {
    const before = paystack.transactions.size;
    expect((await checkout(body)).status).toBe(status);
    expect(paystack.transactions.size).toBe(before);
  });

  test('404: a consumer of another project, or of none', async () => {
    const stranger = await api.signUp('Another');
    const consumerId = await api.consumer(stranger.projectId, 'x@example.com');
    for (const id of [consumerId, 'con_00000000000000000000000000', 'x'])
      expect((await api.call(`/v1/consumers/${id}/checkout`, { key, json: { pack_id: 'credits_10' } })).status).toBe(404);
  });

  test('409: live credit is not sold for test money', async () => {
    const live = await api.signUp('Live', 'live');
    const answer = await api.call('/v1/billing/checkout', { key: live.key, json: { pack_id: 'credits_10' } });
    expect([answer.status, answer.body.error.message]).toEqual([409, 'This is a live project, and payments here are in test mode.']);
  });

  test('503: a provider that is down; the same click afterwards goes on', async () => {
    paystack.setDown(true);
    expect((await checkout()).status).toBe(503);
    paystack.setDown(false);
    expect((await checkout()).status).toBe(201);
  });
});

describe('webhooks', () => {
  test('duplicated, replayed and all at once with the return and the reconciliation: credited once', async () => {
    const { reference } = (await checkout()).body;
    paystack.pay(reference);
    await api.project();
    const webhook = charged(reference);
    const answers = await Promise.all([
      ...Array.from({ length: 6 }, () => deliver(webhook)),
      ...Array.from({ length: 3 }, () => api.call(`/checkout/${reference}/return`)),
      api.reconcile(),
      api.reconcile(),
    ]);
    expect(answers.slice(0, 6).map((answer) => ('status' in answer ? answer.status : 0))).toEqual(Array(6).fill(200));
    expect((await deliver(webhook)).status).toBe(200);
    expect(await api.moneyOf(projectId)).toEqual([100n * CREDITS]);
  });

  test('forged, unsigned, signed for Stripe or altered: 400, and nothing is asked or credited', async () => {
    const { reference } = (await checkout()).body;
    paystack.pay(reference);
    const genuine = charged(reference);
    const calls = paystack.calls.length;
    const forged = [
      paystackWebhook('charge.success', paystack.transaction(reference), 'sk_test_another_key'),
      paystackWebhook('charge.success', paystack.transaction(reference), ''),
      { ...genuine, headers: { 'x-paystack-signature': '' } },
      { ...genuine, headers: { 'x-paystack-signature': 'f'.repeat(128) } },
      { ...genuine, text: genuine.text.replace('1000', '9000') },
      { ...genuine, headers: stripeWebhook('charge.succeeded', {}).headers as never },
    ];
    for (const webhook of forged) expect((await deliver(webhook)).status).toBe(400);
    expect((await api.call('/webhooks/stripe', genuine)).status).toBe(404);
    expect(paystack.calls.length).toBe(calls);
    expect(await api.moneyOf(projectId)).toEqual([]);
  });

  test('a genuine one about what the provider does not call paid credits nothing', async () => {
    const { reference } = (await checkout()).body;
    const lie = paystackWebhook('charge.success', { ...paystack.transaction(reference), status: 'success' });
    expect((await deliver(lie)).status).toBe(200);
    expect(await api.moneyOf(projectId)).toEqual([]);
  });

  test.each([
    ['less than was asked', { amount: 100 }],
    ['another currency', { currency: 'GHS' }],
    ['another account’s', { metadata: { farebox_account: 'acc_another' } }],
    ['live money for test credit', { domain: 'live' }],
  ])('%s is never credited, and is reported', async (_name, changes) => {
    const { reference } = (await checkout()).body;
    const webhook = charged(reference);
    paystack.pay(reference, changes);
    expect((await deliver(webhook)).status).toBe(200);
    expect(await api.moneyOf(projectId)).toEqual([]);
    expect((await api.call(`/v1/payments/${reference}`, { key })).body.status).toBe('mismatched');
    expect(await api.reconcile()).toContainEqual({ kind: 'mismatch', reference });
    // Not for the checks of the other tests.
    paystack.transactions.delete(reference.replaceAll('_', '-'));
  });

  test('of unknown references, and events about other things: 200, so that they are not sent for ever', async () => {
    const unknown = { domain: 'test', reference: `huru-topup-${'0'.repeat(26)}` };
    for (const data of [unknown, { domain: 'test', reference: 'shop-order-7' }, { domain: 'test' }, {}]) {
      expect((await deliver(paystackWebhook('charge.success', data))).body).toEqual({ received: true, ignored: true });
    }
    expect((await deliver(paystackWebhook('transfer.success', { domain: 'test', reference: 5 }))).body.ignored).toBe(true);
  });

  test('503 while the provider cannot be asked, so that it comes again, and then it counts', async () => {
    const { reference } = (await checkout()).body;
    paystack.pay(reference);
    paystack.setDown(true);
    expect((await deliver(charged(reference))).status).toBe(503);
    paystack.setDown(false);
    expect((await deliver(charged(reference))).status).toBe(200);
    expect(await api.moneyOf(projectId)).toEqual([100n * CREDITS]);
  });

  test('too large: 413', async () => {
    expect((await api.call('/webhooks/paystack', { text: JSON.stringify({ x: 'y'.repeat(1_100_000) }) })).status).toBe(413);
  });
});

describe('lost webhooks', () => {
  test('the browser that comes back is enough, and goes on to the client’s page', async () => {
    const { reference } = (await checkout({ pack_id: 'credits_10', success_url: 'https://shop.example/thanks' })).body;
    const waiting = await api.call(`/checkout/${reference}/return`);
    expect([waiting.status, waiting.text.includes('Waiting for the payment')]).toEqual([200, true]);
    paystack.pay(reference);
    api.passTime(3_000);
    const back = await api.call(`/checkout/${reference}/return?trxref=x&reference=x`);
    expect([back.status, back.headers.get('location')]).toEqual([303, 'https://shop.example/thanks']);
    expect(await api.moneyOf(projectId)).toEqual([100n * CREDITS]);
  });

  test('a return that is reloaded asks the provider no more than every two seconds', async () => {
    const { reference } = (await checkout()).body;
    const calls = paystack.calls.length;
    for (let n = 0; n < 5; n += 1) await api.call(`/checkout/${reference}/return`);
    expect(paystack.calls.length - calls).toBe(1);
  });

  test('reconciliation credits what was paid, once, and takes back what was refunded and disputed', async () => {
    const { reference } = (await checkout()).body;
    paystack.pay(reference);
    expect(await api.reconcile()).toContainEqual({ kind: 'credited_now', reference });
    expect((await api.reconcile()).filter((finding) => finding.reference === reference)).toEqual([]);
    paystack.refund(reference, 400);
    expect(await api.reconcile()).toContainEqual({ kind: 'reversed_now', reference });
    expect(await api.moneyOf(projectId)).toEqual([100n * CREDITS, -40n * CREDITS]);
  });

  test('reconciliation reports credit that the provider does not call paid, and names of ours that nobody opened', async () => {
    const { reference } = (await checkout()).body;
    paystack.pay(reference);
    await deliver(charged(reference));
    paystack.transaction(reference).status = 'failed';
    const ghost = `huru-topup-${'1'.repeat(26)}`;
    paystack.transactions.set(ghost, { ...paystack.transaction(reference), reference: ghost, status: 'success' });
    const findings = await api.reconcile();
    expect(findings).toContainEqual({ kind: 'credited_but_unpaid', reference });
    expect(findings).toContainEqual({ kind: 'unknown_payment', reference: ghost.replace('-topup-', '_topup_') });
    paystack.transactions.delete(ghost);
    paystack.transaction(reference).status = 'success';
  });
});

describe('disputes and refunds', () => {
  test('a dispute after spending makes the balance negative; winning it restores', async () => {
    const { reference } = (await checkout()).body;
    paystack.pay(reference);
    await deliver(charged(reference));
    const dispute = paystack.dispute(reference);
    const webhook = paystackWebhook('charge.dispute.create', { domain: 'test', id: dispute.id, transaction: dispute.transaction });
    await Promise.all([deliver(webhook), deliver(webhook), deliver(webhook)]);
    expect(await api.moneyOf(projectId)).toEqual([100n * CREDITS, -100n * CREDITS]);
    expect((await api.call(`/v1/payments/${reference}`, { key })).body).toMatchObject({ status: 'disputed', clawed_back: '100' });
    Object.assign(dispute, { status: 'resolved', resolution: 'declined' });
    await deliver(paystackWebhook('charge.dispute.resolve', { domain: 'test', id: dispute.id, transaction: dispute.transaction }));
    expect(await api.moneyOf(projectId)).toEqual([100n * CREDITS, -100n * CREDITS, 100n * CREDITS]);
    expect((await api.call(`/v1/payments/${reference}`, { key })).body).toMatchObject({ status: 'credited', clawed_back: '0' });
  });

  test('a refund’s webhook, sent three times and before the charge’s own, nets to what is left', async () => {
    const { reference } = (await checkout()).body;
    paystack.pay(reference);
    paystack.refund(reference, 250);
    const refund = paystackWebhook('refund.processed', {
      domain: 'test',
      transaction_reference: reference.replaceAll('_', '-'),
      amount: '250',
    });
    for (const webhook of [refund, charged(reference), refund, refund]) await deliver(webhook);
    expect(await api.moneyOf(projectId)).toEqual([100n * CREDITS, -25n * CREDITS]);
    expect((await api.call(`/v1/payments/${reference}`, { key })).body).toMatchObject({ status: 'partially_refunded', reversed: '2.50' });
  });
});

describe('finance', () => {
  test('GET /v1/payments: newest first, in pages, one’s own only', async () => {
    const references: string[] = [];
    for (const pack of ['credits_10', 'credits_25', 'credits_100']) references.unshift((await checkout({ pack_id: pack })).body.reference);
    await api.project();
    const first = (await api.call('/v1/payments?limit=2', { key })).body;
    expect([first.data.map((one: { reference: string }) => one.reference), first.has_more]).toEqual([references.slice(0, 2), true]);
    const second = (await api.call(`/v1/payments?limit=2&after=${first.next_after}`, { key })).body;
    expect(second.data).toMatchObject([{ reference: references[2], amount: '10.00', currency: 'NGN', status: 'pending', test: true }]);
    const stranger = await api.signUp('Stranger');
    expect((await api.call('/v1/payments', { key: stranger.key })).body.data).toEqual([]);
    for (const reference of [references[0], 'x', `huru_topup_${'2'.repeat(26)}`])
      expect((await api.call(`/v1/payments/${reference}`, { key: stranger.key })).status).toBe(404);
  });
});
