/** What Hoonify's compatibility page promises: OpenAI's surfaces, and its own extensions for routing, repetition and quantisation. */
import { randomUUID } from 'node:crypto';
import { describe, expect } from '@jest/globals';
import { nanos } from '../support/amounts.js';
import { row } from './row.js';
import { serve } from './served.js';

const MODEL = 'llama-3.3-70b';
const OFFERED = ['llama-3.3-70b', 'qwen-2.5-72b', 'deepseek-v3', 'mixtral-8x22b'];
const HELLO = [{ role: 'user' as const, content: 'Hello!' }];
const TOOL = {
  type: 'function' as const,
  function: { name: 'look_up', parameters: { type: 'object', properties: { word: { type: 'string' } }, required: ['word'] } },
};
const SCHEMA = {
  type: 'object',
  properties: { name: { type: 'string' }, age: { type: 'integer' } },
  required: ['name', 'age'],
  additionalProperties: false,
};

describe("Hoonify's compatibility page", () => {
  const served = serve({ preset: 'hoonify-dev', model: MODEL, host: 'https://api.hoonify.dev', keys: ['HOONIFY_API_KEY'], credit: '50' });
  const chat = (body: Readonly<Record<string, unknown>> = {}, headers: [string, string][] = []) =>
    served.client.chat(served.key, body, headers);

  row('D1', 'streaming and stop sequences', async () => {
    const stream = await served.openai().chat.completions.create({ model: MODEL, messages: HELLO, stream: true, stop: ['zzz'] });
    let text = '';
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
    expect(text.length).toBeGreaterThan(0);
  });

  row('D1', 'tools: the same array in, the same tool_calls out, streamed as well', async () => {
    const ask = { model: MODEL, messages: HELLO, tools: [TOOL], tool_choice: 'required' as const };
    const plain = await served.openai().chat.completions.create(ask);
    expect(plain.choices[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: expect.any(String), type: 'function', function: { name: 'look_up', arguments: expect.any(String) } }],
      },
    });
    const streamed = await served.openai().chat.completions.stream(ask).finalChatCompletion();
    const [call] = streamed.choices[0]?.message.tool_calls ?? [];
    expect(call?.type === 'function' && JSON.parse(call.function.arguments)).toEqual({ word: expect.any(String) });
  });

  row('D1', 'structured outputs follow their schema', async () => {
    const answer = await served.openai().chat.completions.create({
      model: MODEL,
      messages: HELLO,
      response_format: { type: 'json_schema', json_schema: { name: 'person', strict: true, schema: SCHEMA } },
    });
    expect(JSON.parse(answer.choices[0]?.message.content ?? '')).toEqual({ name: expect.any(String), age: expect.any(Number) });
  });

  row('D2', 'embeddings as floats and as base64', async () => {
    const models = await served.client.call('/v1/models', { key: served.key });
    const model = models.body.data.find((one: { kind?: string }) => one.kind === 'embedding')?.id;
    expect(model).toEqual(expect.any(String));
    const input = ['the first', 'the second'];
    const floats = await served.openai().embeddings.create({ model, input, encoding_format: 'float' });
    expect(floats).toMatchObject({
      object: 'list',
      data: [
        { object: 'embedding', index: 0 },
        { object: 'embedding', index: 1 },
      ],
    });
    const raw = await served.client.call('/v1/embeddings', { key: served.key, json: { model, input, encoding_format: 'base64' } });
    const [first] = raw.body.data;
    const decoded = [...new Float32Array(new Uint8Array(Buffer.from(first.embedding, 'base64')).buffer)];
    const [vector] = floats.data;
    expect(decoded).toHaveLength(vector?.embedding.length ?? 0);
    for (const [index, value] of decoded.entries()) expect(value).toBeCloseTo(vector?.embedding[index] ?? Number.NaN, 5);
    expect(floats.usage.total_tokens).toBe(floats.usage.prompt_tokens);
  });

  row('D3', 'models say their family, pools, quantizations and context window; one alone says its deprecation', async () => {
    const { body } = await served.client.call('/v1/models', { key: served.key });
    expect(body.data.map(({ id }: { id: string }) => id)).toEqual(expect.arrayContaining(OFFERED));
    for (const id of OFFERED) {
      const model = body.data.find((one: { id: string }) => one.id === id);
      expect(model).toMatchObject({
        object: 'model',
        family: expect.any(String),
        pools: expect.arrayContaining([expect.stringMatching(/^(na|eu|apac)$/)]),
        quantizations: expect.any(Array),
        context_window: expect.any(Number),
      });
    }
    const one = await served.client.call(`/v1/models/${MODEL}`, { key: served.key });
    expect(Object.keys(one.body)).toContain('deprecation');
  });

  row('D4 D8', 'a pool that is named serves, and the response says which did', async () => {
    const { status, body } = await chat({}, [['X-Hoonify-Pool', 'eu']]);
    // One process stands in for every pool; services/api/routing/routing.test.ts has pools that are apart.
    expect([status, body.pool]).toEqual([200, 'eu']);
    const nearest = await chat({}, [
      ['X-Hoonify-Pool', 'apac'],
      ['X-Hoonify-Pool-Fallback', 'nearest'],
    ]);
    expect([nearest.status, typeof nearest.body.pool]).toEqual([200, 'string']);
  });

  row('D4', 'a pool or a fallback that does not exist is refused, and nothing is held', async () => {
    const before = await served.client.balance(served.key);
    for (const headers of [
      [['X-Hoonify-Pool', 'mars']],
      [
        ['X-Hoonify-Pool', 'eu'],
        ['X-Hoonify-Pool-Fallback', 'perhaps'],
      ],
    ] as [string, string][][]) {
      expect((await chat({}, headers)).status).toBe(400);
    }
    expect(await served.client.balance(served.key)).toEqual(before);
  });

  row('D5', 'a repeated request with the same key is answered from the first and charged once', async () => {
    const key = randomUUID();
    const first = await chat({}, [['X-Hoonify-Idempotency-Key', key]]);
    const before = await served.client.balance(served.key);
    const second = await chat({}, [['X-Hoonify-Idempotency-Key', key]]);
    expect([second.status, second.body.id, second.body.idempotent_replay]).toEqual([200, first.body.id, true]);
    expect(await served.client.balance(served.key)).toEqual(before);
  });

  row('D6', 'a quantisation is chosen by name; the cheapest by default; another is refused', async () => {
    const { body } = await served.client.call(`/v1/models/${MODEL}`, { key: served.key });
    const charged = async (extra: Readonly<Record<string, unknown>>) => {
      const before = await served.client.balance(served.key);
      expect((await chat(extra)).status).toBe(200);
      return nanos(before.available) - nanos((await served.client.balance(served.key)).available);
    };
    const names: string[] = body.quantizations;
    expect(names.length).toBeGreaterThan(1);
    const charges: bigint[] = [];
    for (const quantization of names) charges.push(await charged({ quantization }));
    expect(await charged({})).toBe(charges.sort((one, other) => Number(one - other))[0]);
    expect((await chat({ quantization: 'int1' })).status).toBe(400);
  });

  row('D7', 'top_k is taken', async () => {
    expect((await chat({ top_k: 40 })).status).toBe(200);
    expect((await chat({ top_k: -1 })).status).toBe(400);
  });

  row('D8', 'the fingerprint is the same for the same model, quantisation and runtime', async () => {
    const [first, second] = [await chat({ quantization: 'int4' }), await chat({ quantization: 'int4' })];
    expect(first.body.system_fingerprint).toEqual(expect.any(String));
    expect(second.body.system_fingerprint).toBe(first.body.system_fingerprint);
  });

  row('D9', 'image parts and surfaces that are not served are refused with an error that says so', async () => {
    const image = [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://example.com/a.png' } }] }];
    const { status, body } = await chat({ messages: image });
    expect([status, body.error.message]).toEqual([400, expect.stringContaining('image_url')]);
    for (const [path, words] of [
      ['/v1/realtime', /stream/i],
      ['/v1/assistants', /assistant|thread/i],
      ['/v1/threads', /assistant|thread/i],
      ['/v1/batches', /batch/i],
      ['/v1/files', /file|fine/i],
      ['/v1/fine_tuning/jobs', /fine/i],
      ['/v1/audio/speech', /speech|audio/i],
    ] as const) {
      const answer = await served.client.call(path, { key: served.key, json: {} });
      expect([path, answer.status >= 400 && answer.status < 600]).toEqual([path, true]);
      expect(answer.body.error.message).toMatch(words);
      expect(answer.body.error.message).toMatch(/not (served|supported|offered)/i);
    }
  });

  row('D10', 'proprietary ids are not aliased: 404 names the nearest model offered', async () => {
    for (const model of ['gpt-4o', 'o3-mini']) {
      const { status, body } = await chat({ model });
      expect(status).toBe(404);
      expect(OFFERED.some((id) => body.error.message.includes(id))).toBe(true);
    }
  });
});
