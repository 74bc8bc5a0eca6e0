/**
 * The whole API over the real wiring: pools, tools, several answers and prompts, embeddings, receipts, payments and replays, with every process on
 * its own. In the end the books are held against the log by the operator's own command.
 */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { describeWithBroker, startTestBroker, type TestBroker } from '../../events/bus/kafka/testing/brokers-for-tests.js';
import { accountIdOf, formatAmount, requestIdOfRun, WORKER_LOST_AFTER_MS } from '../../events/contract/index.js';
import { KAFKA_4_VERSION } from '../../platform/kafka/dev-broker.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { nanos } from '../support/amounts.js';
import { expectBooksInOrder } from '../support/book-checks.js';
import type { BookedRun, Books } from '../support/books.js';
import { createDistributedDeployment, type DistributedDeployment } from '../support/distributed-deployment.js';
import { createFareboxClient, type FareboxClient, HELLO, type SignedUp } from '../support/farebox-client.js';
import type { Answer, Call } from '../support/http-client.js';
import { liftLimits, writePreset } from '../support/preset-file.js';
import type { ServiceProcess } from '../support/service-process.js';
import { eventsOf } from '../support/stream-events.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';

const MODEL = 'llama-3.3-70b';
const EMBEDDING_MODEL = 'qwen-3-embedding-0.6b';
const STARTER = '1';
const PACK = { id: 'usd_5', name: '$5 of credit', credits: '5', price: { amount: '5', currency: 'USD' } };
/** Silence until a worker counts as lost, as long again until its pool counts as empty, and room for a busy machine. */
const EMPTY_POOL_MS_MAX = 2 * WORKER_LOST_AFTER_MS + 8_000;
/** A ledger is started again, and a group's session of six seconds has to end. */
const RECOVERY_MS_MAX = 30_000;

const TOOL = {
  type: 'function' as const,
  function: { name: 'look_up', parameters: { type: 'object', properties: { word: { type: 'string' } }, required: ['word'] } },
};

type Header = readonly [string, string];
const pinnedTo = (pool: string): Header => ['X-Hoonify-Pool', pool];
const NEAREST: Header = ['X-Hoonify-Pool-Fallback', 'nearest'];

await describeWithBroker('the whole API', () => describe('the whole API between processes', describeFullApi));

function describeFullApi(): void {
  let files: TemporaryDirectory;
  let broker: TestBroker;
  let deployment: DistributedDeployment;
  let books: Books;
  let second: ServiceProcess;
  let client: FareboxClient;
  let other: FareboxClient;

  beforeAll(async () => {
    files = await makeTemporaryDirectory();
    const preset = writePreset(files.path, 'hoonify-dev', (offer) => {
      liftLimits(offer);
      offer.starter_credit.project = STARTER;
      offer.credit_packs = [PACK];
    });
    broker = await startTestBroker(KAFKA_4_VERSION);
    const environment = { FAREBOX_RECEIPT_KEY: randomBytes(32).toString('base64'), FAREBOX_PAYMENTS: 'local' };
    deployment = await createDistributedDeployment({ broker, preset, environment, pools: ['na', 'eu'] });
    await deployment.start();
    second = await deployment.anotherApi();
    [client, other] = [deployment.baseUrl, second.url].map((baseUrl) =>
      createFareboxClient({ baseUrl, adminKey: deployment.adminKey, model: MODEL }),
    ) as [FareboxClient, FareboxClient];
    books = await deployment.openBooks();
    for (const pool of ['na', 'eu']) {
      const { key } = await client.signUp(`Waits for ${pool}`);
      for (const one of [client, other]) {
        const isServed = async () => (await one.chat(key, {}, [pinnedTo(pool)])).status === 200;
        await waitFor(isServed, { timeoutMs: RECOVERY_MS_MAX, describe: `both APIs to have heard of the worker in ${pool}` });
      }
    }
  }, 300_000);
  afterAll(async () => {
    for (const one of [client, other]) one?.close();
    await books?.close();
    await second?.stop();
    await deployment?.dispose();
    await broker?.dispose();
    await files?.remove();
  }, 120_000);

  const runsOf = async (projectId: string): Promise<BookedRun[]> =>
    [...(await books.runs()).values()].filter(({ accountId }) => accountId === accountIdOf(projectId));

  /** Every one of `answered` is charged, once, and nothing else is; what is left is the rest of the starter credit. */
  async function expectChargedOnce({ key, projectId }: SignedUp, answered: readonly string[]): Promise<void> {
    const completed = async () => (await runsOf(projectId)).filter(({ status }) => status === 'completed');
    await waitFor(async () => (await completed()).length >= answered.length, { describe: 'the views to have all requests' });
    const runs = await runsOf(projectId);
    expect(runs.map(({ runId }) => requestIdOfRun(runId)).sort()).toEqual([...answered].sort());
    expect(runs.filter(({ chargedNanos }) => (chargedNanos ?? 0n) <= 0n)).toEqual([]);
    const spentNanos = runs.reduce((sum, { chargedNanos }) => sum + (chargedNanos ?? 0n), 0n);
    expect(await client.balance(key)).toMatchObject({ available: formatAmount(nanos(STARTER) - spentNanos), held: '0' });
  }

  describe('pools', () => {
    test.each(['na', 'eu'])('what is pinned to %s is served there, streamed as well', async (pool) => {
      const { key } = await client.signUp(`Pinned to ${pool}`);
      const plain = await client.chat(key, {}, [pinnedTo(pool)]);
      expect([plain.status, plain.body.pool, plain.headers['x-hoonify-pool']]).toEqual([200, pool, pool]);
      const stream = await client.chat(key, { stream: true }, [pinnedTo(pool)]);
      const chunks = eventsOf(stream.text).filter((event) => event !== '[DONE]') as { pool: string }[];
      expect(chunks.length).toBeGreaterThan(1);
      expect(new Set(chunks.map((chunk) => chunk.pool))).toEqual(new Set([pool]));
      expect(stream.headers['x-hoonify-pool']).toBe(pool);
    });

    test('what is not pinned is served where there is a worker', async () => {
      const { key } = await client.signUp('Anywhere');
      const { status, body } = await client.chat(key);
      expect([status, ['na', 'eu'].includes(body.pool)]).toEqual([200, true]);
    });

    test('a pool without a worker is 503, and nothing is held; the nearest one serves where that is wished', async () => {
      const project = await client.signUp('Apac');
      const { key } = project;
      const refused = await client.chat(key, {}, [pinnedTo('apac')]);
      expectUnavailable(refused, 'apac');
      expect(await client.balance(key)).toMatchObject({ available: STARTER, held: '0' });
      const nearest = await client.chat(key, {}, [pinnedTo('apac'), NEAREST]);
      expect([nearest.status, nearest.body.pool]).toEqual([200, 'na']);
      await expectChargedOnce(project, [nearest.headers['x-request-id'] as string]);
    });
  });

  test('tools, several answers, several prompts and embeddings, plain and streamed: each charged once', async () => {
    const project = await client.signUp('Everything');
    const ids: string[] = [];
    const openai = new OpenAI({
      apiKey: project.key,
      baseURL: `${deployment.baseUrl}/v1`,
      maxRetries: 0,
      fetch: async (url, init) => {
        const response = await fetch(url, init as RequestInit);
        ids.push(response.headers.get('x-request-id') ?? '');
        return response;
      },
    });
    const tools = { model: MODEL, messages: HELLO as [{ role: 'user'; content: string }], tools: [TOOL], tool_choice: 'required' as const };
    const called = await openai.chat.completions.create(tools);
    const streamed = await openai.chat.completions.stream(tools).finalChatCompletion();
    for (const { choices } of [called, streamed]) {
      expect(choices[0]?.finish_reason).toBe('tool_calls');
      const [call] = choices[0]?.message.tool_calls ?? [];
      expect(call?.type === 'function' && [call.function.name, JSON.parse(call.function.arguments)]).toEqual([
        'look_up',
        { word: expect.any(String) },
      ]);
    }

    const twice = { model: MODEL, messages: HELLO as [{ role: 'user'; content: string }], n: 2 };
    const once = await openai.chat.completions.create({ ...twice, n: 1 });
    const both = await openai.chat.completions.create(twice);
    expect(both.choices.map(({ index, message }) => [index, message.content])).toEqual([
      [0, 'Hello!'],
      [1, 'Hello!'],
    ]);
    expect(both.usage?.completion_tokens).toBe(2 * (once.usage?.completion_tokens ?? 0));
    const bothStreamed = await openai.chat.completions.stream(twice).finalChatCompletion();
    expect(bothStreamed.choices.map(({ message }) => message.content)).toEqual(['Hello!', 'Hello!']);

    const prompts = ['one', 'two', 'three'];
    const completed = await openai.completions.create({ model: MODEL, prompt: prompts });
    expect(completed.choices.map(({ text }) => text)).toEqual(prompts);
    const texts = ['', '', ''];
    for await (const { choices } of await openai.completions.create({ model: MODEL, prompt: prompts, stream: true })) {
      for (const { index, text } of choices) texts[index] += text;
    }
    expect(texts).toEqual(prompts);

    const { data } = await openai.embeddings.create({ model: EMBEDDING_MODEL, input: ['one', 'two', 'one'], dimensions: 8 });
    expect(data.map(({ embedding }) => embedding.length)).toEqual([8, 8, 8]);
    expect([data[0]?.embedding, data[1]?.embedding]).toEqual([data[2]?.embedding, expect.not.arrayContaining(data[0]?.embedding ?? [])]);

    expect(new Set(ids).size).toBe(8);
    await expectChargedOnce(project, ids);
  });

  test('a receipt is signed, and the offline command finds it good', async () => {
    const { key } = await client.signUp('Receipts');
    const raw = JSON.stringify({ model: MODEL, messages: HELLO, n: 2 });
    const answer = await client.call('/v1/chat/completions', { key, raw, headers: [['Content-Type', 'application/json']] });
    expect(answer.status).toBe(200);
    // Asked of the other instance: it signs with the same key, and knows of the request by the views.
    const path = `/v1/requests/${answer.headers['x-request-id'] as string}/verification`;
    await waitFor(async () => (await other.call(path, { key })).status === 200, { describe: 'the views to have the request' });
    const verification = await other.call(path, { key });
    expect(verification.body).toMatchObject({ verified: true, verification_mode: 'signed' });

    const written = (name: string, text: string) => {
      writeFileSync(join(files.path, name), text);
      return join(files.path, name);
    };
    const keys = written('keys.json', (await client.call('/v1/verification/keys')).text);
    const contents = ['--key', keys, '--request', written('request.json', raw), '--response', written('answer.json', answer.text)];
    const good = await deployment.command('verify', [written('receipt.json', verification.text), ...contents]);
    expect(good).toEqual({ exitCode: 0, output: expect.stringContaining('This receipt is good.') });
    const forged = verification.text.replace(/"charged":"[^"]+"/, '"charged":"0"');
    expect(forged).not.toBe(verification.text);
    expect((await deployment.command('verify', [written('forged.json', forged), ...contents])).exitCode).toBe(3);
  });

  test('the same idempotency key at two instances at once, and later: one run, one charge, one answer', async () => {
    const project = await client.signUp('Repeats');
    const repeat = (one: FareboxClient) => one.chat(project.key, {}, [['X-Hoonify-Idempotency-Key', 'one-and-the-same']]);
    const atOnce = await Promise.all([client, other, client, other].map(repeat));
    const answered = atOnce.filter(({ status }) => status === 200);
    expect(answered.length).toBeGreaterThan(0);
    expect(atOnce.filter(({ status }) => status !== 200 && status !== 409)).toEqual([]);
    const later = await Promise.all([repeat(client), repeat(other)]);
    expect(later.map(({ status, headers }) => [status, headers['idempotent-replayed']])).toEqual(Array(2).fill([200, 'true']));
    expect(new Set([...answered, ...later].map(({ body }) => body.id)).size).toBe(1);
    await expectChargedOnce(project, [later[0]?.body.id.replace('chatcmpl-', 'req_')]);
  });

  describe('payments', () => {
    type Checkout = { readonly reference: string; readonly path: string };

    async function openCheckout(key: string): Promise<Checkout> {
      const { status, body } = await client.call('/v1/billing/checkout', { key, json: { pack_id: PACK.id } });
      expect([status, body.provider]).toEqual([201, 'local']);
      return { reference: body.reference, path: new URL(body.authorization_url).pathname };
    }

    /** As a browser does: the page, its form, and the way back, at whichever instance the balancer chose. */
    async function pay(at: FareboxClient, { path }: Checkout): Promise<Answer> {
      const page = await at.call(path);
      const token = /name="token" value="([0-9a-f]+)"/.exec(page.text)?.[1] ?? '';
      const cookie = (page.headers['set-cookie']?.[0] ?? '').split(';')[0] ?? '';
      const form: Call = {
        raw: `token=${token}`,
        headers: [
          ['Content-Type', 'application/x-www-form-urlencoded'],
          ['Cookie', cookie],
        ],
      };
      expect((await at.call(path, form)).status).toBe(303);
      return at.call(`${path}/return`);
    }

    async function expectCreditedOnce(key: string, { reference }: Checkout): Promise<void> {
      const paid = formatAmount(nanos(STARTER) + nanos(PACK.credits));
      await waitFor(async () => (await client.balance(key)).available === paid, { timeoutMs: RECOVERY_MS_MAX, describe: 'the credit' });
      const shown = async () => (await client.call(`/v1/payments/${reference}`, { key })).body;
      await waitFor(async () => (await shown()).status === 'credited', { timeoutMs: RECOVERY_MS_MAX, describe: 'the booking' });
      expect((await shown()).credited).toBe(PACK.credits);
      // Looking again changes nothing.
      await other.call(`/checkout/${reference}/return`);
      expect((await client.balance(key)).available).toBe(paid);
    }

    test('opened at one instance and paid at the other: credited once', async () => {
      const { key } = await client.signUp('Payer');
      const checkout = await openCheckout(key);
      await pay(other, checkout);
      await expectCreditedOnce(key, checkout);
    });

    test('the ledger dies between the payment and its booking: another one books it', async () => {
      const { key } = await client.signUp('Payer in a storm');
      const checkout = await openCheckout(key);
      await Promise.all(deployment.ledgers.map((one) => one.stop()));
      await deployment.restartLedger(0, { FAREBOX_FAILPOINT: 'store.append.PaymentVerified.after' });
      const [stricken] = deployment.ledgers;
      await pay(client, checkout);
      await waitFor(() => stricken?.isRunning() === false, { timeoutMs: RECOVERY_MS_MAX, describe: 'the ledger to die' });
      await Promise.all([deployment.restartLedger(0), deployment.restartLedger(1)]);
      await expectCreditedOnce(key, checkout);
    });
  });

  test('the only worker of a pool is killed: its runs are refused in seconds, nothing is charged, and other pools go on', async () => {
    const { key } = await client.signUp('Left alone');
    await deployment.workers[1]?.kill();
    const asked = Date.now();
    // No API knows of the death yet, so this one is handed to a pool where nobody is.
    const stranded = await client.chat(key, {}, [pinnedTo('eu')]);
    expectUnavailable(stranded);
    expect(Date.now() - asked).toBeLessThan(EMPTY_POOL_MS_MAX);
    const refused = await client.chat(key, {}, [pinnedTo('eu')]);
    expectUnavailable(refused, 'eu');
    await waitFor(async () => (await client.balance(key)).held === '0', { describe: 'the hold to end' });
    expect(await client.balance(key)).toMatchObject({ available: STARTER, held: '0' });
    expect((await client.chat(key, {}, [pinnedTo('eu'), NEAREST])).body.pool).toBe('na');

    await deployment.restartWorker(1);
    const isBack = async () => (await client.chat(key, {}, [pinnedTo('eu')])).status === 200;
    await waitFor(isBack, { timeoutMs: RECOVERY_MS_MAX, describe: 'the pool to serve again' });
  }, 90_000);

  test('the books are in order after all of it, chain and all', async () => {
    await expectBooksInOrder(books);
    const { exitCode, output } = await deployment.command('verify');
    const [, events, linked] = /(\d+) events checked, (\d+) of them by their account's hash chain, 0 differences/.exec(output) ?? [];
    expect([exitCode, Number(linked) > 0, Number(events) > Number(linked)]).toEqual([0, true, true]);
  });
}

function expectUnavailable({ status, body, headers }: Answer, pool?: string): void {
  expect([status, body.error?.type, body.error?.code]).toEqual([503, 'service_unavailable_error', 'provider_unavailable']);
  expect(headers['retry-after']).toBeDefined();
  if (pool !== undefined) expect(body.error.message).toContain(`pool ${pool}`);
}
