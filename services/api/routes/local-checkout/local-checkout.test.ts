/** Farebox's own checkout, clicked through as a browser does: top-up page, checkout page, payment, back to the shop. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type PaymentsApi, startPaymentsApi } from '../../payments/testing/payments-api.js';

const USD = 1_000_000_000n;
let api: PaymentsApi;
let projectId: string;
let key: string;
let made = 0;
beforeAll(async () => {
  api = await startPaymentsApi({ preset: 'farebox', provider: 'local' });
});
afterAll(async () => {
  expect(await api.verify()).toEqual([]);
  await api.close();
});
beforeEach(async () => {
  made += 1;
  ({ projectId, key } = await api.signUp(`Project ${made}`, 'live'));
});

const pathOf = (url: string | null) => new URL(url ?? '', api.baseUrl).pathname;
const tokenIn = (html: string) => /name="token" value="([0-9a-f]{64})"/.exec(html)?.[1] ?? '';
const cookieOf = (headers: Headers) => (headers.get('set-cookie') ?? '').split(';')[0] ?? '';

async function openCheckout(body: object = {}) {
  const { body: session } = await api.call('/v1/billing/checkout', { key, json: { pack_id: 'usd_5', ...body } });
  const path = pathOf(session.authorization_url);
  const page = await api.call(path);
  return { reference: session.reference as string, path, page, token: tokenIn(page.text), cookie: cookieOf(page.headers) };
}

describe('the local checkout', () => {
  test('from the top-up page to credit with two clicks', async () => {
    const topUp = await api.call(`/top-up?project=${projectId}`);
    expect(topUp.text).toContain('Test mode');
    expect(topUp.text).toContain('name="pack_id" value="usd_20"');
    const begun = await api.call(`/top-up?project=${projectId}`, { form: { pack_id: 'usd_20' } });
    expect([begun.status, begun.headers.get('location')?.startsWith('https://farebox.example/checkout/farebox_topup_')]).toEqual([
      303,
      true,
    ]);
    const path = pathOf(begun.headers.get('location'));
    const page = await api.call(path);
    expect(page.text).toContain('No real money moves');
    const paid = await api.call(path, { form: { token: tokenIn(page.text) }, headers: { cookie: cookieOf(page.headers) } });
    expect([paid.status, pathOf(paid.headers.get('location'))]).toEqual([303, `${path}/return`]);
    expect((await api.call(`${path}/return`)).text).toContain('20 USD of credit can be spent now.');
    expect(await api.moneyOf(projectId)).toEqual([20n * USD]);
  });

  test('a consumer tops up its own account, and its address is not on the page', async () => {
    const consumerId = await api.consumer(projectId, 'jane@example.com');
    const begun = await api.call(`/top-up?consumer=${consumerId}`, { form: { pack_id: 'usd_5' } });
    const path = pathOf(begun.headers.get('location'));
    const page = await api.call(path);
    expect(page.text).not.toContain('jane');
    await api.call(path, { form: { token: tokenIn(page.text) }, headers: { cookie: cookieOf(page.headers) } });
    await api.call(`${path}/return`);
    expect([await api.moneyOf(consumerId), await api.moneyOf(projectId)]).toEqual([[5n * USD], []]);
  });

  test('paying goes on to success_url, giving up to cancel_url', async () => {
    const urls = { success_url: 'https://shop.example/thanks', cancel_url: 'https://shop.example/cart' };
    const { path, token, cookie } = await openCheckout(urls);
    const cancelled = await api.call(`${path}/cancel`);
    expect([cancelled.status, cancelled.headers.get('location')]).toEqual([303, 'https://shop.example/cart']);
    await api.call(path, { form: { token }, headers: { cookie } });
    const back = await api.call(`${path}/return`);
    expect([back.status, back.headers.get('location')]).toEqual([303, 'https://shop.example/thanks']);
  });

  test('six clicks on Pay pay once', async () => {
    const { path, token, cookie } = await openCheckout();
    const clicks = await Promise.all(Array.from({ length: 6 }, () => api.call(path, { form: { token }, headers: { cookie } })));
    expect(clicks.map(({ status }) => status)).toEqual(Array(6).fill(303));
    await Promise.all(Array.from({ length: 6 }, () => api.call(`${path}/return`)));
    expect(await api.moneyOf(projectId)).toEqual([5n * USD]);
  });

  test('409: without the token, without the cookie, with those of another page', async () => {
    const [mine, other] = [await openCheckout(), await openCheckout({ pack_id: 'usd_100' })];
    const attempts = [
      { form: {}, headers: { cookie: mine.cookie } },
      { form: { token: mine.token }, headers: {} },
      { form: { token: mine.token }, headers: { cookie: other.cookie } },
      { form: { token: other.token }, headers: { cookie: other.cookie } },
      { form: { token: 'f'.repeat(64) }, headers: { cookie: mine.cookie } },
    ];
    for (const attempt of attempts)
      expect((await api.call(mine.path, { ...attempt, form: { token: '', ...attempt.form } })).status).toBe(409);
    expect(await api.reconcile()).toEqual([]);
    expect(await api.moneyOf(projectId)).toEqual([]);
  });

  test('a crash between the payment and its return is healed by the reconciliation', async () => {
    const { reference, path, token, cookie } = await openCheckout();
    await api.call(path, { form: { token }, headers: { cookie } });
    expect(await api.reconcile()).toEqual([{ kind: 'credited_now', reference }]);
    expect(await api.reconcile()).toEqual([]);
    expect(await api.moneyOf(projectId)).toEqual([5n * USD]);
  });

  test('nobody frames, scripts or caches the pages; the form leads nowhere else', async () => {
    const { page } = await openCheckout();
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toMatch(/^default-src 'none'; style-src 'nonce-[^']+'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'$/);
    expect(page.headers.get('cache-control')).toBe('no-store');
    expect(page.headers.get('set-cookie')).toMatch(/HttpOnly; SameSite=Strict; Secure$/);
    expect(page.text).not.toContain('<script');
  });

  test('404: checkouts and payers that do not exist; 400: packs that do not; 415 and 413: no form', async () => {
    for (const reference of [`farebox_topup_${'0'.repeat(26)}`, 'x', '%00']) {
      for (const end of ['', '/return', '/cancel']) expect((await api.call(`/checkout/${reference}${end}`)).status).toBe(404);
    }
    const nobody = `prj_${'0'.repeat(26)}`;
    expect((await api.call(`/top-up?project=${nobody}`, { form: { pack_id: 'usd_5' } })).status).toBe(404);
    expect((await api.call(`/top-up?project=${projectId}`, { form: { pack_id: 'usd_6' } })).status).toBe(400);
    expect((await api.call(`/top-up?project=${projectId}`, { json: { pack_id: 'usd_5' } })).status).toBe(415);
    expect((await api.call(`/top-up?project=${projectId}`, { form: { pack_id: 'x'.repeat(5_000) } })).status).toBe(413);
  });

  test('no provider has webhooks here', async () => {
    for (const provider of ['paystack', 'stripe']) expect((await api.call(`/webhooks/${provider}`, { json: {} })).status).toBe(404);
  });
});
