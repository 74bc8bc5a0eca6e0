/**
 * Everything a client can get wrong, in each error dialect: the status and the typed error are as stated, and at the end nothing was held, charged
 * or lost.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { expectBooksInOrder } from '../support/book-checks.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient, HELLO } from '../support/farebox-client.js';
import type { Answer, Call } from '../support/http-client.js';
import { liftLimits, writePreset } from '../support/preset-file.js';
import { opened } from '../support/raw-request.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';
import { badEmbeddings } from './bad-embeddings.js';
import { badErrands } from './bad-errands.js';
import type { BadInput, Offer } from './bad-input.js';
import { BAD_INPUTS, CHAT } from './bad-inputs.js';
import {
  badPurchases,
  newsOf,
  PAYSTACK_SECRET,
  STRIPE_SECRET,
  STRIPE_WEBHOOK_SECRET,
  UNKNOWN_REFERENCES,
  webhook,
} from './bad-purchases.js';
import { badRecordings } from './bad-recordings.js';

type Book = { readonly unit: string; readonly accounts: readonly { readonly account: string; readonly balance: string }[] };

/** A prompt that the engine finds too long was held for and refunded: that is two postings more, and the same balances. */
function balancesOf(books: readonly Book[]): unknown {
  return books.map(({ unit, accounts }) => ({ unit, accounts: accounts.map(({ account, balance }) => [account, balance]) }));
}

type Dialect = Offer & {
  readonly preset: string;
  readonly shape: readonly string[];
  /** Whether each refusal has a code of its own, or the one that is documented for its status, or none. */
  readonly codes: 'exact' | 'documented' | 'none';
};
const DIALECTS: readonly Dialect[] = [
  {
    preset: 'farebox',
    model: 'farebox-tiny',
    embeddingModel: 'qwen-3-embedding-0.6b',
    transcriptionModel: 'whisper-small',
    brand: 'Farebox',
    payments: 'local',
    shape: ['detail', 'error'],
    codes: 'exact',
  },
  {
    preset: 'hunt',
    model: 'hunt-llama-3.1-8b',
    embeddingModel: null,
    transcriptionModel: null,
    brand: 'Hunt',
    payments: 'none',
    shape: ['detail'],
    codes: 'none',
  },
  {
    preset: 'huru',
    model: 'huru/chat-1',
    embeddingModel: null,
    transcriptionModel: 'huru/stt-1',
    brand: 'Huru',
    payments: 'paystack',
    shape: ['error'],
    codes: 'documented',
  },
  {
    preset: 'hoonify-dev',
    model: 'llama-3.3-70b',
    embeddingModel: 'nomic-embed-text-v1.5',
    transcriptionModel: null,
    brand: 'Hoonify',
    payments: 'stripe',
    shape: ['error'],
    codes: 'exact',
  },
];

/** Codes that stand for a whole status in dialects without exact codes. */
const DOCUMENTED_CODES: Readonly<Record<number, string>> = { 400: 'invalid_request', 401: 'authentication_error' };
/** A pack of the offer, where it has any. */
const PACK_IDS: Readonly<Record<string, string>> = { farebox: 'usd_5', huru: 'credits_10' };
const PAYMENTS: Readonly<Record<Offer['payments'], Readonly<Record<string, string>>>> = {
  local: {},
  none: { FAREBOX_PAYMENTS: 'none' },
  paystack: { FAREBOX_PAYMENTS: 'paystack', PAYSTACK_SECRET_KEY: PAYSTACK_SECRET, FAREBOX_PAYMENTS_EMAIL: 'receipts@example.com' },
  stripe: { FAREBOX_PAYMENTS: 'stripe', STRIPE_SECRET_KEY: STRIPE_SECRET, STRIPE_WEBHOOK_SECRET },
};

function badInputsOf(offer: Dialect): readonly BadInput[] {
  const { model, embeddingModel, transcriptionModel, payments, preset } = offer;
  return [
    ...BAD_INPUTS,
    ...badErrands(offer),
    ...(embeddingModel === null ? [] : badEmbeddings(embeddingModel)),
    ...(transcriptionModel === null ? [] : badRecordings(transcriptionModel, model)),
    ...badPurchases({ payments, packId: PACK_IDS[preset] ?? 'usd_5' }),
  ];
}

describe.each(DIALECTS)('in the dialect of $preset', (dialect) => {
  const { preset, model, codes, shape, payments } = dialect;
  let files: TemporaryDirectory;
  let deployment: EmbeddedDeployment;
  let client: FareboxClient;
  let key: string;
  let before: { readonly balance: unknown; readonly trialBalance: unknown };
  const look = async () => ({
    balance: await client.balance(key),
    trialBalance: balancesOf((await client.call('/v1/admin/trial-balance', { key: deployment.adminKey })).body.books),
  });
  beforeAll(async () => {
    files = await makeTemporaryDirectory();
    const lifted = writePreset(files.path, preset, (offer) => {
      liftLimits(offer);
      // Enough to hold what the longest prompt might cost: who asks for too much must not be told that it is about money.
      offer.starter_credit.project = '100000';
    });
    deployment = await createEmbeddedDeployment({ preset: lifted, environment: PAYMENTS[payments] });
    await deployment.start();
    client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model });
    key = (await client.signUp('Careless')).key;
    const reused = await client.chat(key, {}, [['Idempotency-Key', 'reused']]);
    expect(reused.status).toBe(200);
    const books = await deployment.openBooks();
    await expectBooksInOrder(books);
    await books.close();
    before = await look();
  }, 120_000);
  afterAll(async () => {
    client?.close();
    await deployment?.dispose();
    await files?.remove();
  }, 120_000);

  function expectRefusal({ status, body }: Answer, expected: Pick<BadInput, 'status' | 'code' | 'names'>): void {
    expect(status).toBe(expected.status);
    expect(Object.keys(body).sort()).toEqual(shape);
    const message = body.detail ?? body.error.message;
    expect(message.length).toBeGreaterThan(0);
    if (expected.names !== undefined) expect(`${message} ${body.error?.param ?? ''}`).toContain(expected.names);
    if (codes === 'none') return;
    expect(body.error.code).toBe(codes === 'exact' ? expected.code : (DOCUMENTED_CODES[expected.status] ?? expected.code));
    expect(typeof body.error.type).toBe('string');
  }

  test.each(badInputsOf(dialect).map((entry) => [`${entry.status} ${entry.name}`, entry] as const))('%s', async (_name, entry) => {
    const body = { model, messages: HELLO, ...entry.body };
    const sendsOwnBody =
      entry.call?.raw !== undefined ||
      entry.call?.json !== undefined ||
      (entry.call?.method ?? 'POST') !== 'POST' ||
      entry.call?.method !== undefined;
    const credentials = entry.as === 'nobody' ? {} : { key: entry.as === 'admin' ? deployment.adminKey : key };
    const call: Call = { ...credentials, ...(sendsOwnBody ? {} : { json: body }), ...entry.call };
    expectRefusal(await client.call(entry.path ?? CHAT, call), entry);
  });

  test('422 an idempotency key that was used for another body', async () => {
    const answer = await client.chat(key, { temperature: 0.1 }, [['Idempotency-Key', 'reused']]);
    expectRefusal(answer, { status: 422, code: 'idempotency_key_reused' });
  });

  if (payments === 'paystack' || payments === 'stripe') {
    const provider = payments;
    test.each(UNKNOWN_REFERENCES.map((reference) => [reference]))(
      'a genuine webhook for the unknown reference %j is taken and changes nothing',
      async (reference) => {
        const answer = await client.call(`/webhooks/${provider}`, webhook(provider, newsOf(provider, reference)));
        expect([answer.status, answer.body]).toEqual([200, { received: true, ignored: true }]);
      },
    );
  }

  test('control characters that HTTP forbids never get past the parser', async () => {
    const { hostname, port } = new URL(deployment.baseUrl);
    const { socket, closed } = await opened({ bytes: Buffer.alloc(0), host: hostname, port: Number(port) });
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    socket.write(
      `POST ${CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nX-Consumer-Email: a\u0000@b.c\r\nContent-Length: 2\r\n\r\n{}`,
    );
    await closed;
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
  });

  test('afterwards nothing was held, charged or lost', async () => {
    expect(await look()).toEqual(before);
    expect(before.balance).toMatchObject({ held: '0' });
    const books = await deployment.openBooks();
    try {
      await expectBooksInOrder(books);
    } finally {
      await books.close();
    }
  });
});
