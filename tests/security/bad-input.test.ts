/**
 * Everything a client can get wrong, in each error dialect: the status and the typed error are as stated, and at the end nothing was held, charged
 * or lost. A line a case.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { expectBooksInOrder } from '../support/book-checks.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient, HELLO } from '../support/farebox-client.js';
import type { Answer, Call } from '../support/http-client.js';
import { liftLimits, writePreset } from '../support/preset-file.js';
import { opened } from '../support/raw-request.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';

const CHAT = '/v1/chat/completions';
const MEBIBYTE = 1_048_576;
/** Longer than any context on offer, within the size of a body. */
const LONG_PROMPT = 'word '.repeat(180_000);

type Case = {
  readonly name: string;
  readonly path?: string;
  /** Merged into a valid body, unless `call` brings a body of its own. */
  readonly body?: Readonly<Record<string, unknown>>;
  readonly call?: Call;
  readonly status: number;
  /** The error's code where codes are exact. */
  readonly code: string;
  /** What the message must name. */
  readonly names?: string;
};

const json = (text: string | Buffer): Call => ({ raw: text, headers: [['Content-Type', 'application/json']] });
const headers = (...list: [string, string][]): Call => ({ headers: list });
const email = (...values: string[]): Call => headers(...values.map((value): [string, string] => ['X-Consumer-Email', value]));
const nested = (levels: number) => `{"model":"m","messages":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`;
const invalid = (name: string, body: Readonly<Record<string, unknown>>, names: string): Case => ({
  name,
  body,
  status: 400,
  code: 'invalid_request',
  names,
});
const unsupported = (name: string, value: unknown, names = name): Case => ({
  name: `unsupported: ${name}`,
  body: { [name]: value },
  status: 400,
  code: 'unsupported_parameter',
  names,
});

const CASES: readonly Case[] = [
  { name: 'no JSON', call: json('{'), status: 400, code: 'malformed_json' },
  { name: 'JSON cut in the middle', call: json('{"model":"m","messages":[{"role":"us'), status: 400, code: 'malformed_json' },
  { name: 'two values', call: json('{} {}'), status: 400, code: 'malformed_json' },
  { name: 'not UTF-8', call: json(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])), status: 400, code: 'malformed_json' },
  { name: 'nothing at all', call: json(''), status: 400, code: 'invalid_request' },
  { name: 'null', call: json('null'), status: 400, code: 'invalid_request' },
  { name: 'an array', call: json('[]'), status: 400, code: 'invalid_request' },
  { name: '33 levels', call: json(nested(33)), status: 400, code: 'malformed_json', names: '32' },
  { name: '32 levels are read, and then not what is wanted', call: json(nested(32)), status: 400, code: 'invalid_request' },
  { name: '100,000 levels', call: json('['.repeat(100_000)), status: 400, code: 'malformed_json' },
  { name: 'a body of more than a mebibyte', call: json('x'.repeat(MEBIBYTE + 1)), status: 413, code: 'body_too_large' },
  {
    name: 'another media type',
    call: { raw: 'model=m', headers: [['Content-Type', 'application/x-www-form-urlencoded']] },
    status: 415,
    code: 'unsupported_media_type',
  },
  {
    name: 'a compressed body',
    call: {
      raw: '{}',
      headers: [
        ['Content-Type', 'application/json'],
        ['Content-Encoding', 'gzip'],
      ],
    },
    status: 415,
    code: 'unsupported_media_type',
  },

  invalid('no model', { model: undefined }, 'model'),
  invalid('a number as model', { model: 5 }, 'model'),
  invalid('an empty model', { model: '' }, 'model'),
  { name: 'an unknown model', body: { model: 'gpt-99-ultra' }, status: 404, code: 'model_not_found', names: 'gpt-99-ultra' },
  { name: 'a model named like a property of objects', body: { model: '__proto__' }, status: 404, code: 'model_not_found' },
  invalid('no messages', { messages: undefined }, 'messages'),
  invalid('an empty list of messages', { messages: [] }, 'messages'),
  invalid('text as messages', { messages: 'Hello' }, 'messages'),
  invalid('a message that is none', { messages: ['Hello'] }, 'messages[0]'),
  invalid('an unknown role', { messages: [{ role: 'wizard', content: 'x' }] }, 'role'),
  invalid('a message without content', { messages: [{ role: 'user' }] }, 'content'),
  invalid('a number as content', { messages: [{ role: 'user', content: 7 }] }, 'content'),
  invalid('more messages than there may be', { messages: Array.from({ length: 2_049 }, () => HELLO[0]) }, 'messages'),
  invalid('temperature below 0', { temperature: -0.1 }, 'temperature'),
  invalid('temperature above 2', { temperature: 2.1 }, 'temperature'),
  invalid('temperature as text', { temperature: '1' }, 'temperature'),
  invalid('top_p above 1', { top_p: 1.5 }, 'top_p'),
  invalid('max_tokens 0', { max_tokens: 0 }, 'max_tokens'),
  invalid('max_tokens below 0', { max_tokens: -1 }, 'max_tokens'),
  invalid('half a token', { max_tokens: 1.5 }, 'max_tokens'),
  invalid('an unsafe integer', { max_tokens: 2 ** 60 }, 'max_tokens'),
  invalid('frequency_penalty above 2', { frequency_penalty: 3 }, 'frequency_penalty'),
  invalid('a seed that is none', { seed: 'lucky' }, 'seed'),
  invalid('stream as text', { stream: 'yes' }, 'stream'),
  invalid('five stop sequences', { stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop'),
  invalid('an empty stop sequence', { stop: '' }, 'stop'),
  unsupported('tools', [{ type: 'function', function: { name: 'f' } }]),
  unsupported('tool_choice', 'required'),
  unsupported('logprobs', true),
  unsupported('n', 2),
  unsupported('logit_bias', { 50256: -100 }),
  unsupported('audio', { voice: 'x' }),
  unsupported('modalities', ['audio']),
  unsupported('response_format', { type: 'json_schema', json_schema: {} }),
  unsupported('messages', [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://169.254.169.254/' } }] }], 'image_url'),
  unsupported('messages', [{ role: 'tool', content: 'x', tool_call_id: 'c' }], 'tool'),
  {
    name: 'a prompt longer than the context',
    body: { messages: [{ role: 'user', content: LONG_PROMPT }] },
    status: 400,
    code: 'context_length_exceeded',
  },

  { name: 'an e-mail without @', call: email('jane.example.com'), status: 400, code: 'invalid_request', names: 'X-Consumer-Email' },
  { name: 'an empty e-mail', call: email(''), status: 400, code: 'invalid_request', names: 'X-Consumer-Email' },
  { name: 'two @', call: email('a@b@c'), status: 400, code: 'invalid_request', names: 'X-Consumer-Email' },
  {
    name: 'the header twice',
    call: email('a@example.com', 'b@example.com'),
    status: 400,
    code: 'invalid_request',
    names: 'X-Consumer-Email',
  },
  {
    name: 'two e-mails in one header',
    call: email('a@example.com, b@example.com'),
    status: 400,
    code: 'invalid_request',
    names: 'X-Consumer-Email',
  },
  {
    name: 'an e-mail of 255 characters',
    call: email(`${'a'.repeat(243)}@example.com`),
    status: 400,
    code: 'invalid_request',
    names: '254',
  },
  { name: 'a control character (C1) in an e-mail', call: email('a\u0085b@example.com'), status: 400, code: 'invalid_request' },
  { name: 'SQL in an e-mail', call: email("x'; drop table api.keys; --@example.com"), status: 400, code: 'invalid_request' },
  {
    name: 'a name with a control character',
    call: headers(['X-Consumer-Email', 'a@example.com'], ['X-Consumer-Name', 'J\u0085ane']),
    status: 400,
    code: 'invalid_request',
    names: 'X-Consumer-Name',
  },
  {
    name: 'a name of 201 characters',
    call: headers(['X-Consumer-Email', 'a@example.com'], ['X-Consumer-Name', 'J'.repeat(201)]),
    status: 400,
    code: 'invalid_request',
    names: 'X-Consumer-Name',
  },
  {
    name: 'an idempotency key with a blank',
    call: headers(['Idempotency-Key', 'a b']),
    status: 400,
    code: 'invalid_request',
    names: 'Idempotency-Key',
  },
  {
    name: 'an idempotency key of 256 characters',
    call: headers(['Idempotency-Key', 'k'.repeat(256)]),
    status: 400,
    code: 'invalid_request',
    names: 'Idempotency-Key',
  },
  {
    name: 'two idempotency keys',
    call: headers(['Idempotency-Key', 'a'], ['Idempotency-Key', 'b']),
    status: 400,
    code: 'invalid_request',
    names: 'Idempotency-Key',
  },

  { name: 'no such endpoint', path: '/v1/chat/completion', status: 404, code: 'endpoint_not_found' },
  { name: 'another method', call: { method: 'DELETE' }, status: 405, code: 'method_not_allowed' },
  {
    name: 'a time zone that is none',
    path: '/v1/usage?timezone=Mars/Olympus',
    call: { method: 'GET' },
    status: 400,
    code: 'invalid_request',
    names: 'timezone',
  },
  {
    name: 'a range that ends before it begins',
    path: '/v1/usage?from=2026-02-02&to=2026-01-01',
    call: { method: 'GET' },
    status: 400,
    code: 'invalid_request',
    names: 'from',
  },
  {
    name: 'a page of minus one',
    path: '/v1/consumers?limit=-1',
    call: { method: 'GET' },
    status: 400,
    code: 'invalid_request',
    names: 'limit',
  },
  {
    name: 'a key of the other environment',
    path: '/v1/keys',
    call: { json: { name: 'x', environment: 'test' } },
    status: 400,
    code: 'invalid_request',
    names: 'test project',
  },
  { name: 'a project without a name', path: '/v1/projects', call: { json: {} }, status: 400, code: 'invalid_request', names: 'name' },
  {
    name: 'a slug with a slash',
    path: '/v1/projects',
    call: { json: { name: 'x', slug: '../etc' } },
    status: 400,
    code: 'invalid_request',
    names: 'slug',
  },
];

type Book = { readonly unit: string; readonly accounts: readonly { readonly account: string; readonly balance: string }[] };

/** A prompt that the engine finds too long was held for and refunded: that is two postings more, and the same balances. */
function balancesOf(books: readonly Book[]): unknown {
  return books.map(({ unit, accounts }) => ({ unit, accounts: accounts.map(({ account, balance }) => [account, balance]) }));
}

type Dialect = { readonly preset: string; readonly model: string; readonly codes: 'exact' | 'documented' | 'none' };
const DIALECTS: readonly Dialect[] = [
  { preset: 'farebox', model: 'farebox-tiny', codes: 'exact' },
  { preset: 'hunt', model: 'hunt-llama-3.1-8b', codes: 'none' },
  { preset: 'huru', model: 'huru/chat-1', codes: 'documented' },
];

describe.each(DIALECTS)('in the dialect of $preset', ({ preset, model, codes }) => {
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
    deployment = await createEmbeddedDeployment({ preset: lifted });
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

  function expectRefusal({ status, body }: Answer, expected: Pick<Case, 'status' | 'code' | 'names'>): void {
    expect(status).toBe(expected.status);
    const shape = codes === 'exact' ? ['detail', 'error'] : codes === 'none' ? ['detail'] : ['error'];
    expect(Object.keys(body).sort()).toEqual(shape);
    const message = body.detail ?? body.error.message;
    expect(message.length).toBeGreaterThan(0);
    if (expected.names !== undefined) expect(`${message} ${body.error?.param ?? ''}`).toContain(expected.names);
    if (codes === 'none') return;
    const documented = expected.status === 400 ? 'invalid_request' : expected.code;
    expect(body.error.code).toBe(codes === 'exact' ? expected.code : documented);
    expect(typeof body.error.type).toBe('string');
  }

  test.each(CASES.map((entry) => [`${entry.status} ${entry.name}`, entry] as const))('%s', async (_name, entry) => {
    const body = { model, messages: HELLO, ...entry.body };
    const sendsOwnBody = entry.call?.raw !== undefined || entry.call?.json !== undefined || entry.call?.method === 'GET';
    const call: Call = { key, ...(sendsOwnBody ? {} : { json: body }), ...entry.call };
    expectRefusal(await client.call(entry.path ?? CHAT, call), entry);
  });

  test('422 an idempotency key that was used for another body', async () => {
    const answer = await client.chat(key, { temperature: 0.1 }, [['Idempotency-Key', 'reused']]);
    expectRefusal(answer, { status: 422, code: 'idempotency_key_reused' });
  });

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
