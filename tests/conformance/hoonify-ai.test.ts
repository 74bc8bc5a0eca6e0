/** The requests that Hoonify AI's document prints: the full OpenAI parameter set, its headers and its errors. */
import { describe, expect } from '@jest/globals';
import { eventsOf } from '../support/stream-events.js';
import { row } from './row.js';
import { serve } from './served.js';

const MODEL = 'qwen-3';
const CATALOGUE = [
  ['qwen-3', 'Qwen', '128K'],
  ['deepseek-r1', 'DeepSeek', '128K'],
  ['llama-4-scout', 'Meta', '10M'],
  ['qwen2-5-72b', 'Qwen', '128K'],
  ['deepseek-v3', 'DeepSeek', '128K'],
  ['llama-3-3-70b', 'Meta', '128K'],
  ['qwq-32b', 'Qwen', '32K'],
  ['gemma-2-27b', 'Google', '8K'],
  ['mistral-7b-instruct', 'Mistral', '32K'],
  ['mistral-large', 'Mistral', '128K'],
] as const;

describe("Hoonify AI's document", () => {
  const served = serve({ preset: 'hoonify-ai', model: MODEL, host: 'https://api.hoonify.ai', keys: ['YOUR_API_KEY'], credit: '5' });

  row('A1', 'keys begin as documented', async () => {
    expect(served.key).toMatch(/^hoo_[0-9A-Za-z]{20,}$/);
  });

  row('A9', 'the quick start answers in the documented shape', async () => {
    const response = await served.openai().chat.completions.create({ model: MODEL, messages: [{ role: 'user', content: 'Hello!' }] });
    expect(response).toMatchObject({
      id: expect.stringMatching(/^chatcmpl-/),
      object: 'chat.completion',
      created: expect.any(Number),
      model: MODEL,
      choices: [{ index: 0, message: { role: 'assistant', content: expect.any(String) }, finish_reason: 'stop' }],
      usage: { prompt_tokens: expect.any(Number), completion_tokens: expect.any(Number), total_tokens: expect.any(Number) },
    });
  });

  row('A3 A7', 'the catalogue lists ten models with provider, context and description', async () => {
    const models = await served.openai().models.list();
    expect(models.data.map(({ id }) => id)).toEqual(CATALOGUE.map(([id]) => id));
    const { body } = await served.client.call('/v1/models', { key: served.key });
    for (const [id, provider, context] of CATALOGUE) {
      const model = body.data.find((one: { id: string }) => one.id === id);
      expect(model).toMatchObject({ object: 'model', provider, context, description: expect.any(String) });
    }
  });

  row('A2', 'every documented parameter is taken', async () => {
    const answer = await served.client.chat(served.key, {
      stream: false,
      temperature: 1,
      max_tokens: 64,
      top_p: 1,
      frequency_penalty: -2,
      presence_penalty: 2,
      stop: ['END', 'STOP'],
      user: 'user-1',
    });
    expect(answer.status).toBe(200);
    expect((await served.client.chat(served.key, { stop: 'END' })).status).toBe(200);
  });

  row('A2', 'a parameter out of its documented range is refused by name', async () => {
    for (const [name, value] of [
      ['temperature', 2.1],
      ['top_p', 1.1],
      ['frequency_penalty', -2.1],
      ['presence_penalty', 2.1],
    ] as const) {
      const { status, body } = await served.client.chat(served.key, { [name]: value });
      expect([status, body.error.message]).toEqual([422, expect.stringContaining(name)]);
    }
  });

  row('A4', 'a stream has the documented events', async () => {
    const stream = await served.openai().chat.completions.create({
      model: MODEL,
      messages: [{ role: 'user', content: 'Explain quantum entanglement.' }],
      stream: true,
    });
    let text = '';
    for await (const chunk of stream) text += (chunk.choices[0] as { delta: { content?: string | null } }).delta.content ?? '';
    expect(text.length).toBeGreaterThan(0);
    const raw = await served.client.chat(served.key, { stream: true });
    const events = eventsOf(raw.text) as { choices?: { delta: object; finish_reason: string | null; index: number }[] }[];
    expect(events.at(-1)).toBe('[DONE]');
    expect(events.at(-2)?.choices).toMatchObject([{ delta: {}, finish_reason: 'stop', index: 0 }]);
  });

  row('A8 A9', 'content may be text parts, and a conversation may have several turns with a system prompt', async () => {
    const messages: { role: 'system' | 'user' | 'assistant'; content: string }[] = [
      { role: 'system', content: 'You are a concise technical assistant.' },
      { role: 'user', content: 'What is a transformer model?' },
    ];
    const first = await served.openai().chat.completions.create({ model: MODEL, messages });
    messages.push({ role: 'assistant', content: first.choices[0]?.message.content ?? '' });
    messages.push({ role: 'user', content: 'How is attention used in LLMs?' });
    const second = await served.openai().chat.completions.create({ model: MODEL, messages });
    expect(second.usage?.prompt_tokens).toBeGreaterThan(first.usage?.prompt_tokens ?? 0);
    const parts = await served.client.chat(served.key, {
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'Hello, ' },
            { type: 'text', text: 'parts' },
          ],
        },
      ],
    });
    expect(parts.status).toBe(200);
  });

  row('A8', 'image parts are refused where no model sees', async () => {
    const content = [{ type: 'image_url', image_url: { url: 'https://example.com/a.png' } }];
    const { status, body } = await served.client.chat(served.key, { messages: [{ role: 'user', content }] });
    expect([status, body.error.message]).toEqual([expect.any(Number), expect.stringContaining('image_url')]);
    expect([400, 422]).toContain(status);
  });

  row('A5', 'every response carries the documented headers, refusals included', async () => {
    const answers = [
      await served.client.chat(served.key),
      await served.client.chat(served.key, { model: 'none' }),
      await served.client.chat('hoo_wrong'),
      await served.client.call('/v1/models', { key: served.key }),
    ];
    for (const { headers } of answers) {
      expect(Number(headers['x-ratelimit-limit-requests'])).toBeGreaterThan(0);
      expect(Number(headers['x-ratelimit-remaining-requests'])).toBeGreaterThanOrEqual(0);
      expect(headers['x-ratelimit-reset-requests']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
      expect(Number(headers['x-ratelimit-limit-tokens'])).toBeGreaterThan(0);
      expect(Number(headers['x-ratelimit-remaining-tokens'])).toBeGreaterThanOrEqual(0);
    }
  });

  row('A6', 'errors have the documented shape and statuses', async () => {
    const wrongKey = await served.client.chat('hoo_wrong');
    expect([wrongKey.status, wrongKey.body]).toEqual([
      401,
      { error: { message: expect.any(String), type: 'authentication_error', code: 'invalid_api_key' } },
    ]);
    const malformed = await served.client.call('/v1/chat/completions', {
      key: served.key,
      raw: '{',
      headers: [['Content-Type', 'application/json']],
    });
    expect([malformed.status, Object.keys(malformed.body)]).toEqual([400, ['error']]);
    const missing = await served.client.chat(served.key, { messages: undefined });
    expect(missing.status).toBe(400);
    const semantic = await served.client.chat(served.key, { temperature: 9 });
    expect(semantic.status).toBe(422);
    for (const { body } of [malformed, missing, semantic]) {
      expect(body.error).toMatchObject({ message: expect.any(String), type: expect.any(String) });
    }
  });
});
