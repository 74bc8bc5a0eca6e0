/**
 * The process dies by kill -9 on both sides of each append of a payment's life, and lives again on the same data: what was paid is credited once,
 * without anybody asking again.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { waitFor } from '../../platform/testing/wait-for.js';
import { expectBooksInOrder } from '../support/book-checks.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';

const POINTS = ['PaymentVerified', 'CreditGranted', 'PaymentBooked'].flatMap((type) => [
  `store.append.${type}.before`,
  `store.append.${type}.after`,
]);
const CREDIT = 5;

let deployment: EmbeddedDeployment;
let client: FareboxClient;
let key: string;
beforeAll(async () => {
  deployment = await createEmbeddedDeployment({ preset: 'farebox' });
  await start();
  key = (await client.signUp('Payer')).key;
  await deployment.stop();
}, 120_000);
afterAll(async () => {
  client?.close();
  await deployment?.dispose();
}, 120_000);

/** Each start has a port of its own. */
async function start(failpoint?: string): Promise<void> {
  await deployment.start(failpoint === undefined ? {} : { failpoint });
  client?.close();
  client = createFareboxClient(deployment);
}

/** What a browser does with the checkout's page. */
async function clickPay(path: string): Promise<Response> {
  const page = await fetch(`${deployment.baseUrl}${path}`);
  const token = /name="token" value="([0-9a-f]{64})"/.exec(await page.text())?.[1] ?? '';
  const cookie = (page.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
  const form = { method: 'POST', redirect: 'manual', headers: { cookie }, body: new URLSearchParams({ token }) } as const;
  return fetch(`${deployment.baseUrl}${path}`, form);
}

describe('a payment whose process is killed at', () => {
  test.each(POINTS)('%s is credited once after the restart', async (point) => {
    await start(point);
    const before = Number((await client.balance(key)).available);
    const json = { pack_id: 'usd_5', idempotency_key: point };
    const { reference, authorization_url: url } = (await client.call('/v1/billing/checkout', { key, json })).body;
    const path = new URL(url).pathname;
    expect((await clickPay(path)).status).toBe(303);
    // The return asks the provider, verifies, books, and dies on the way.
    await expect(fetch(`${deployment.baseUrl}${path}/return`)).rejects.toThrow();
    await deployment.exited;
    await start();
    const payment = async () => (await client.call(`/v1/payments/${reference}`, { key })).body;
    await waitFor(async () => (await payment()).status === 'credited', { describe: `credit of ${reference}` });
    expect(Number((await client.balance(key)).available)).toBeCloseTo(before + CREDIT, 6);
    const books = await deployment.openBooks();
    await expectBooksInOrder(books);
    await books.close();
    await deployment.stop();
  });
});
