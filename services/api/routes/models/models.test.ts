/** What is on offer, and what runs it. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type ChatApi, CONTEXT_TOKENS_MAX, startChatApi } from '../../testing/chat-api.js';

let hunt: ChatApi;
let huru: ChatApi;
let hoonify: ChatApi;
beforeAll(async () => {
  [hunt, huru, hoonify] = (await Promise.all(['hunt', 'huru', 'hoonify-dev'].map((preset) => startChatApi({ preset })))) as [
    ChatApi,
    ChatApi,
    ChatApi,
  ];
});
afterAll(() => Promise.all([hunt.close(), huru.close(), hoonify.close()]));

test('H2, A3: the list has every model with provider, context and description, and says what serves it', async () => {
  const answer = await hunt.call('/v1/models');
  expect([answer.status, answer.body.object, answer.body.data.length]).toEqual([200, 'list', hunt.preset.models.length]);
  expect(answer.headers['x-ratelimit-limit']).toBe('60');
  expect(answer.body.data[0]).toMatchObject({
    id: 'hunt-phi-3.5-mini',
    object: 'model',
    owned_by: 'microsoft',
    provider: 'Microsoft',
    tier: 'tiny',
    // The engine that is loaded has less than the offer promises, and the answer says so.
    context_window: CONTEXT_TOKENS_MAX,
    served_by: 'fp_scripted',
  });
});

test.each(['/v1/models/huru/chat-1', '/v1/models/huru%2Fchat-1'])('%s is one model', async (path) => {
  expect(await huru.call(path)).toMatchObject({ status: 200, body: { id: 'huru/chat-1', object: 'model' } });
});

test('D10: an id of somebody else’s is not aliased; the nearest is named', async () => {
  const answer = await hunt.call('/v1/models/llama-3.1-8b');
  expect([answer.status, answer.body.detail.includes('"hunt-llama-3.1-8b"')]).toEqual([404, true]);
});

test('without a key: 401', async () => {
  expect((await hunt.call('/v1/models', { key: null })).status).toBe(401);
});

describe('D3, D6', () => {
  test('each model has its family, pools, quantisations and context window; the default quantisation comes first', async () => {
    const { status, body } = await hoonify.call('/v1/models');
    expect([status, body.object]).toEqual([200, 'list']);
    for (const model of body.data) {
      expect(model).toMatchObject({ object: 'model', family: expect.any(String), context_window: expect.any(Number) });
      expect(model.pools.length).toBeGreaterThan(0);
    }
    const [llama, , deepseek] = body.data;
    expect([llama.quantizations, llama.pools]).toEqual([
      ['int4', 'fp8', 'fp16'],
      ['na', 'eu', 'apac'],
    ]);
    expect(deepseek.pools).toEqual(['na', 'eu']);
  });

  test('one model adds its deprecation: null while nothing is planned, else the day and what to take instead', async () => {
    expect((await hoonify.call('/v1/models/llama-3.3-70b')).body.deprecation).toBeNull();
    const deprecated = await startChatApi({
      preset: (preset) => ({
        ...preset,
        models: preset.models.map((model) => ({ ...model, deprecation: { date: '2027-01-31', replacement: 'newer' } })),
      }),
    });
    const { body } = await deprecated.call(`/v1/models/${deprecated.model}`);
    expect(body.deprecation).toEqual({ date: '2027-01-31', replacement: 'newer' });
    await deprecated.close();
  });

  test('the details have the price of each variant', async () => {
    const { body } = await hoonify.call('/v1/model/info?model=llama-3.3-70b');
    expect(body.pricing).toMatchObject({ kind: 'per_token', input_per_million: '0.35' });
    expect(body.variants.map((variant: { quantization: string }) => variant.quantization)).toEqual(['fp16', 'fp8', 'int4']);
    const fp16 = await hoonify.call('/v1/model/info?model=llama-3.3-70b&quantization=fp16');
    expect(fp16.body.pricing.input_per_million).toBe('0.88');
  });

  test('an embedding model generates nothing', async () => {
    const { body } = await hoonify.call('/v1/models/nomic-embed-text-v1.5');
    expect(body).toMatchObject({ kind: 'embedding', embeddings: true, max_output_tokens: 0 });
  });
});

test('A3: the context as the document prints it', async () => {
  const ai = await startChatApi({ preset: 'hoonify-ai' });
  const { body } = await ai.call('/v1/models/llama-4-scout');
  expect(body).toMatchObject({ provider: 'Meta', context: '10M', description: expect.stringMatching(/./) });
  await ai.close();
});
