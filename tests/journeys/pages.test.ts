/**
 * Farebox's pages as people see them, in a real browser with its own policies, cookies and clicks: the playground filled from the preset answers
 * with the demo key, and who has run out of credit pays by clicking, once.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { expectBooksInOrder } from '../support/book-checks.js';
import { type Browser, findBrowser, type Page, startBrowser } from '../support/browser.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient, type SignedUp } from '../support/farebox-client.js';
import { writePreset } from '../support/preset-file.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';

const program = findBrowser();
const describeInBrowser = program === null ? describe.skip : describe;
let browser: Browser;
let files: TemporaryDirectory;
let deployment: EmbeddedDeployment;
beforeAll(async () => {
  files = await makeTemporaryDirectory();
  if (program !== null) browser = await startBrowser(program);
}, 120_000);
afterAll(async () => {
  await browser?.close();
  await files?.remove();
}, 120_000);

/** Of an operation in Swagger UI. */
const CHAT = '[id$="-createChatCompletion"]';
/** The one button of the checkout page. */
const PAY = 'form[method="post"] button[type="submit"]';
const textOf = (selector: string) => `document.querySelector(${JSON.stringify(selector)})?.textContent ?? ''`;

async function authorize(page: Page, key: string): Promise<void> {
  await page.click('.auth-wrapper .btn.authorize');
  await page.enter('.auth-container:has(#auth-bearer-value) #auth-bearer-value', key);
  await page.click('.auth-container .auth-btn-wrapper button.authorize');
  await page.until(`document.querySelector('.auth-container .auth-btn-wrapper button.btn')?.textContent === 'Logout'`);
  await page.click('.auth-container .btn-done');
}

type Playground = {
  readonly preset: string;
  readonly model: string;
  readonly where: string;
  readonly addressOf: (printed: string) => string;
};
const PLAYGROUNDS: readonly Playground[] = [
  { preset: 'farebox', model: 'farebox-tiny', where: 'under the printed address', addressOf: (printed) => printed },
  // What a person types is not always what the service says of itself.
  { preset: 'huru', model: 'huru/chat-1', where: 'under another name of the same machine', addressOf: otherNameOf },
  { preset: 'hoonify-dev', model: 'llama-3.3-70b', where: 'under the printed address', addressOf: (printed) => printed },
];

function otherNameOf(printed: string): string {
  return printed.replace(/localhost|127\.0\.0\.1/, (name) => (name === 'localhost' ? '127.0.0.1' : 'localhost'));
}

describeInBrowser.each(PLAYGROUNDS)('the playground of $preset, $where', ({ preset, model, addressOf }) => {
  beforeAll(async () => {
    deployment = await createEmbeddedDeployment({ preset });
    await deployment.start();
  }, 120_000);
  afterAll(() => deployment?.dispose(), 120_000);

  test('is filled from the preset, and a chat completion works with the demo key', async () => {
    const page = await browser.newPage();
    await page.open(`${addressOf(deployment.baseUrl)}/docs`);
    await page.until(`document.querySelector('${CHAT}')`);
    expect(await page.read(textOf('.info .title'))).toContain('API');
    await authorize(page, deployment.welcome.demoKey);
    await page.click(`${CHAT} .opblock-summary-control`);
    await page.until(`document.querySelector('${CHAT} textarea.body-param__text')?.value.includes('messages')`);
    const body = await page.read<string>(`document.querySelector('${CHAT} textarea.body-param__text').value`);
    expect(JSON.parse(body)).toEqual({ model, messages: [{ role: 'user', content: 'Hello!' }] });
    await page.click(`${CHAT} .execute`);
    await page.until(`/^\\d/.test(${textOf(`${CHAT} .live-responses-table .response .response-col_status`)})`);
    expect(await page.read(textOf(`${CHAT} .live-responses-table .response .response-col_status`))).toMatch(/^200/);
    expect(await page.read(textOf(`${CHAT} .live-responses-table .response`))).toContain('chat.completion');
    expect(page.complaints).toEqual([]);
  });
});

describeInBrowser('the local checkout', () => {
  let client: FareboxClient;
  let shop: Server;
  let shopUrl: string;
  let payer: SignedUp;
  const balance = async () => (await client.balance(payer.key)).available;
  beforeAll(async () => {
    const preset = writePreset(files.path, 'farebox', (offer) => {
      offer.starter_credit = { project: '0', consumer: '0' };
    });
    deployment = await createEmbeddedDeployment({ preset });
    await deployment.start();
    client = createFareboxClient(deployment);
    payer = await client.signUp('Clicks');
    shop = createServer((request, response) => {
      response.writeHead(200, { 'content-type': 'text/html' });
      response.end(`<title>${request.url === '/thanks' ? 'Thanks' : 'Cart'}</title>`);
    });
    await new Promise<void>((resolve) => shop.listen(0, '127.0.0.1', resolve));
    shopUrl = `http://127.0.0.1:${(shop.address() as AddressInfo).port}`;
  }, 120_000);
  afterAll(async () => {
    client?.close();
    shop?.closeAllConnections();
    shop?.close();
    await deployment?.dispose();
  }, 120_000);

  /** Opens a checkout that belongs to the shop. */
  async function checkoutPage(packId: string): Promise<Page> {
    const json = { pack_id: packId, success_url: `${shopUrl}/thanks`, cancel_url: `${shopUrl}/cart` };
    const { status, body } = await client.call('/v1/billing/checkout', { key: payer.key, json });
    expect(status).toBe(201);
    const page = await browser.newPage();
    await page.open(body.authorization_url);
    return page;
  }

  test('leads from a 402 by three clicks to credit that can be spent', async () => {
    const refused = await client.chat(payer.key);
    expect(refused.status).toBe(402);
    const page = await browser.newPage();
    await page.open(refused.body.error.checkout_url);
    await page.click('button[value="usd_5"], form:has([value="usd_5"]) button');
    await page.until(`document.querySelector('h1')?.textContent === 'Checkout'`);
    expect(await balance()).toBe('0');
    await page.click(PAY);
    await page.until(`document.querySelector('h1')?.textContent === 'Paid'`);
    expect(await page.read(textOf('body'))).toContain('5 USD of credit can be spent now.');
    expect(page.complaints).toEqual([]);
    expect(await balance()).toBe('5');
    expect((await client.chat(payer.key)).status).toBe(200);
  });

  test('a double click pays once and goes on to success_url', async () => {
    const page = await checkoutPage('usd_20');
    const before = Number(await balance());
    await page.click(PAY, 2);
    await page.until(`document.title === 'Thanks'`);
    expect(await page.read('location.href')).toBe(`${shopUrl}/thanks`);
    expect(Number(await balance()) - before).toBe(20);
    expect(page.complaints).toEqual([]);
  });

  test('a click on a page that is out of date, since another tab has paid, pays nothing more and goes on too', async () => {
    const first = await checkoutPage('usd_100');
    const before = Number(await balance());
    const second = await browser.newPage();
    await second.open(await first.read('location.href'));
    await first.click(PAY);
    await first.until(`document.title === 'Thanks'`);
    await second.click(PAY);
    await second.until(`document.title === 'Thanks'`);
    expect(Number(await balance()) - before).toBe(100);
  });

  test('giving up goes to cancel_url and costs nothing', async () => {
    const page = await checkoutPage('usd_100');
    const before = await balance();
    await page.click('a[href$="/cancel"]');
    await page.until(`document.title === 'Cart'`);
    expect(await balance()).toBe(before);
  });

  test('afterwards the books are in order, with each payment once', async () => {
    const { body } = await client.call('/v1/payments', { key: payer.key });
    const statuses = body.data.map(({ pack_id, status }: { pack_id: string; status: string }) => [pack_id, status]);
    expect(statuses.sort()).toEqual([
      ['usd_100', 'credited'],
      ['usd_100', 'pending'],
      ['usd_20', 'credited'],
      ['usd_5', 'credited'],
    ]);
    const books = await deployment.openBooks();
    try {
      await expectBooksInOrder(books);
    } finally {
      await books.close();
    }
  });
});
