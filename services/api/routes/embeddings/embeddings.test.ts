/** `POST /v1/embeddings` (D2) over real HTTP with the real ledger: inputs of every form, both encodings, charges and refusals. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { formatAmount } from '../../../../events/contract/index.js';
import type { Preset } from '../../../../presets/preset-schema.js';
import { type Call, type ChatApi, startChatApi } from '../../testing/chat-api.js';
import { echoScript, vectorText } from '../../testing/scripted-worker.js';
import { EMBEDDINGS_PATH } from './request-schema.js';

const ADJUSTABLE = 'adjustable-embedding';
const FIXED = 'fixed-embedding';
const WIDE = 'wide-embedding';

/** The default offer with one embedding model whose vectors may be cut and one whose may not. */
function withEmbeddingModels(preset: Preset): Preset {
  const [chat] = preset.models;
  if (chat === undefined) throw new Error('the preset has models');
  const model = (id: string, adjustable: boolean) => ({
    ...chat,
    id,
    kind: 'embedding' as const,
    embeddings: false,
    max_output_tokens: 0,
    embedding_dimensions: { native: 8, adjustable },
  });
  const wide = { ...model(WIDE, true), embedding_dimensions: { native: 4_096, adjustable: true } };
  return { ...preset, models: [...preset.models, model(ADJUSTABLE, true), model(FIXED, false), wide] };
}

let api: ChatApi;
beforeAll(async () => {
  api = await startChatApi({ preset: withEmbeddingModels });
});
afterEach(() => {
  api.worker.script = echoScript;
});
afterAll(() => api.close());

const embed = (body: Record<string, unknown> = {}, call: Call = {}) =>
  api.call(EMBEDDINGS_PATH, { json: { model: ADJUSTABLE, input: 'Hello', ...body }, ...call });
const openai = () => new OpenAI({ baseURL: `${api.baseUrl}/v1`, apiKey: api.project.key, maxRetries: 0 });
const availableOf = async (accountId: string) => formatAmount((await api.ledger.balance(accountId))?.availableNanos ?? 0n);

describe('200', () => {
  test('OpenAI’s shape, the charge that was booked, and the metadata object', async () => {
    const project = await api.signUp('1');
    const answer = await embed({}, { key: project.key });
    expect([answer.status, answer.body]).toMatchObject([
      200,
      {
        object: 'list',
        data: [{ object: 'embedding', index: 0, embedding: [5, 0] }],
        model: ADJUSTABLE,
        usage: { prompt_tokens: 1, total_tokens: 1 },
        farebox: expect.objectContaining({ request_id: answer.headers['x-request-id'], credits_used: '0.0000001' }),
      },
    ]);
    expect(await availableOf(project.accountId)).toBe('0.9999999');
    expect(api.worker.lastRun.request).toMatchObject({
      outputTokensBudget: 0,
      stream: false,
      input: { kind: 'embedding', inputs: ['Hello'] },
    });
  });

  const forms: readonly [string, unknown, unknown[]][] = [
    ['an array of texts', ['a', 'bb'], ['a', 'bb']],
    ['tokens', [1, 2, 3], [[1, 2, 3]]],
    ['arrays of tokens', [[1, 2], [3]], [[1, 2], [3]]],
    ['2,048 texts', Array.from({ length: 2_048 }, () => 'x'), Array.from({ length: 2_048 }, () => 'x')],
  ];
  test.each(forms)('%s: one vector each, in order', async (_name, input, inputs) => {
    const answer = await embed({ input });
    expect(api.worker.lastRun.request.input).toEqual({ kind: 'embedding', inputs });
    expect(answer.body.data.map(({ index, embedding }: { index: number; embedding: number[] }) => [index, embedding])).toEqual(
      inputs.map((one, index) => [index, [(one as string | number[]).length, index]]),
    );
  });

  test('vectors that come out of order are put in order', async () => {
    api.worker.script = async (run) => {
      for (const answer of [1, 0]) await run.output('', { answer, embedding: vectorText([answer + 0.5]) });
      await run.finish('stop', { promptTokens: 2, cachedTokens: 0, completionTokens: 0 });
    };
    const { data } = (await embed({ input: ['a', 'b'] })).body;
    expect(data.map(({ embedding }: { embedding: number[] }) => embedding)).toEqual([[0.5], [1.5]]);
  });

  test('base64 is little-endian 32-bit floats', async () => {
    const { data } = (await embed({ encoding_format: 'base64' })).body;
    expect(data[0].embedding).toBe(Buffer.from([0, 0, 0xa0, 0x40, 0, 0, 0, 0]).toString('base64'));
  });

  test('dimensions reach the worker where the model allows them; its own number is always allowed', async () => {
    expect((await embed({ dimensions: 4 })).status).toBe(200);
    expect(api.worker.lastRun.request.input).toMatchObject({ dimensions: 4 });
    expect((await embed({ model: FIXED, dimensions: 8 })).status).toBe(200);
  });

  test('shorter vectors make room for more inputs, and long ones are written in several turns', async () => {
    const input = Array.from({ length: 513 }, () => 'x');
    const vector = vectorText(Array.from({ length: 1_024 }, (_, index) => index));
    api.worker.script = async (run) => {
      for (const answer of input.keys()) await run.output('', { answer, embedding: vector });
      await run.finish();
    };
    const { status, body } = await embed({ model: WIDE, dimensions: 1_024, input });
    expect([status, body.data.length, body.data[512].index, body.data[512].embedding[1_023]]).toEqual([200, 513, 512, 1_023]);
  });

  test('a chat model that the offer says makes them too', async () => {
    expect((await embed({ model: api.model })).status).toBe(200);
  });

  test('OpenAI’s client, which asks for base64 by itself, and with floats', async () => {
    const byDefault = await openai().embeddings.create({ model: ADJUSTABLE, input: ['Hello', 'Hi'] });
    expect(byDefault.data.map(({ embedding }) => Array.from(embedding))).toEqual([
      [5, 0],
      [2, 1],
    ]);
    const floats = await openai().embeddings.create({
      model: ADJUSTABLE,
      input: 'Hello',
      encoding_format: 'float',
      dimensions: 2,
      user: 'ann',
    });
    expect(floats.data[0]?.embedding).toEqual([5, 0]);
  });

  test('replayed byte by byte, charged once', async () => {
    const project = await api.signUp('1');
    const ask = () => embed({}, { key: project.key, headers: [['Idempotency-Key', 'vectors']] });
    const [first, again] = [await ask(), await ask()];
    expect(again.text).toBe(`${first.text.slice(0, -1)},"idempotent_replay":true}`);
    expect(await availableOf(project.accountId)).toBe('0.9999999');
  });

  test('nothing is held for output: the last credit still buys vectors', async () => {
    // Five bytes and two markers at 100 nanos.
    const poor = await api.signUp('0.0000007');
    expect((await embed({}, { key: poor.key })).status).toBe(200);
    const poorer = await api.signUp('0.0000006');
    const refused = await embed({}, { key: poorer.key });
    expect([refused.status, refused.body.error.message.includes('max_tokens')]).toEqual([402, false]);
    expect(await availableOf(poorer.accountId)).toBe('0.0000006');
  });
});

describe('refusals: typed, nothing held, nothing run', () => {
  const cases: readonly [string, Record<string, unknown>, number, string, string][] = [
    ['no input', { input: undefined }, 400, 'invalid_request', 'input'],
    ['an empty text', { input: '' }, 400, 'invalid_request', 'input'],
    ['no inputs', { input: [] }, 400, 'invalid_request', 'input'],
    ['2,049 inputs', { input: Array.from({ length: 2_049 }, () => 'x') }, 400, 'invalid_request', 'input'],
    ['an object', { input: { text: 'x' } }, 400, 'invalid_request', 'input'],
    ['texts and tokens mixed', { input: [[1], 'x'] }, 400, 'invalid_request', 'input[1]'],
    ['a token that is none', { input: [1, 'x'] }, 400, 'invalid_request', 'input[1]'],
    ['an unknown encoding', { encoding_format: 'hex' }, 400, 'invalid_request', 'encoding_format'],
    ['dimensions of zero', { dimensions: 0 }, 400, 'invalid_request', 'dimensions'],
    ['more dimensions than the model has', { dimensions: 9 }, 400, 'invalid_request', 'dimensions'],
    ['dimensions of a model with a fixed number', { model: FIXED, dimensions: 4 }, 400, 'invalid_request', 'dimensions'],
    [
      'more numbers than one answer may hold',
      { model: WIDE, input: Array.from({ length: 513 }, () => 'x') },
      400,
      'invalid_request',
      'input',
    ],
    ['an unknown model', { model: 'text-embedding-3-small' }, 404, 'model_not_found', 'model'],
    ['a chat model that makes none', { model: 'llama-3.2-3b' }, 400, 'invalid_request', 'model'],
  ];
  test.each(cases)('%s', async (_name, body, status, code, param) => {
    const before = await api.ledger.balance(api.project.accountId);
    const runs = api.worker.runs.length;
    const answer = await embed(body);
    expect([answer.status, answer.body.error?.code, answer.body.error?.param]).toEqual([status, code, param]);
    expect([await api.ledger.balance(api.project.accountId), api.worker.runs.length]).toEqual([before, runs]);
  });

  test('an input longer than the context, as the engine finds it, names the input and is refunded', async () => {
    const before = await availableOf(api.project.accountId);
    api.worker.script = (run) => run.fail('context_length_exceeded', false, 'Input 1 has 5000 tokens.');
    const answer = await embed();
    expect([answer.status, answer.body.error.code, answer.body.error.param]).toEqual([400, 'context_length_exceeded', 'input']);
    expect(await availableOf(api.project.accountId)).toBe(before);
  });

  test('a vector that is missing is told, not made up; under its key the request is repeated free of charge', async () => {
    const project = await api.signUp('1');
    api.worker.script = async (run) => {
      await run.output('', { answer: 0, embedding: vectorText([1]) });
      await run.finish('stop', { promptTokens: 2, cachedTokens: 0, completionTokens: 0 });
    };
    const ask = () => embed({ input: ['a', 'b'] }, { key: project.key, headers: [['Idempotency-Key', 'missing']] });
    expect((await ask()).status).toBe(500);
    api.worker.script = echoScript;
    expect((await ask()).status).toBe(200);
    expect(await availableOf(project.accountId)).toBe('0.9999998');
  });
});
