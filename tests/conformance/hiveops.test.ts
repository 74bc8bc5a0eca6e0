/** The requests that HiveOps' document prints, on the bundled model: a grammar, not luck, makes its JSON valid. */
import { describe, expect } from '@jest/globals';
import { nanos } from '../support/amounts.js';
import { eventsOf, textOf } from '../support/stream-events.js';
import { row } from './row.js';
import { serve } from './served.js';

const MODEL = 'llama3:8b-instruct-q8_0';
const CATALOGUE = [
  [MODEL, 'meta', 8_192, '0.010', '0.020'],
  ['llama-3-70b-instruct', 'meta', 16_384, '0.100', '0.200'],
  ['gemma-2-9b-it', 'google', 8_192, '0.005', '0.010'],
  ['mistral-7b-instruct-v0.3', 'mistralai', 4_096, '0.001', '0.002'],
] as const;
const WEATHER = {
  type: 'function' as const,
  function: {
    name: 'get_weather',
    description: 'Get the current weather for a location',
    parameters: {
      type: 'object',
      properties: {
        location: { type: 'string', description: 'City name, e.g., San Francisco' },
        unit: { type: 'string', enum: ['celsius', 'fahrenheit'] },
      },
      required: ['location'],
    },
  },
};

describe("HiveOps' document", () => {
  const served = serve({
    preset: 'hiveops',
    model: MODEL,
    host: 'https://ai.hiveops.io',
    // The document's clients are pointed at the bare host.
    sdkPath: '',
    keys: ['sk-YOUR-API-KEY'],
    credit: '5',
    environment: { FAREBOX_ENGINE: 'tiny' },
  });

  row('V1', 'the first request of the document, without /v1', async () => {
    const { status, body } = await served.curl(`curl https://ai.hiveops.io/chat/completions \\
  -H "Authorization: Bearer sk-YOUR-API-KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "llama3:8b-instruct-q8_0", "messages": [{"role": "user", "content": "Hello!"}]}'`);
    expect([status, body.object, body.model]).toEqual([200, 'chat.completion', MODEL]);
    expect(served.key).toMatch(/^sk-/);
  });

  row('V1 V4', 'the example request of chat completions answers in the documented shape', async () => {
    const { status, body } = await served.curl(`curl https://ai.hiveops.io/chat/completions \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer sk-YOUR-API-KEY" \\
  -d '{
    "model": "llama3:8b-instruct-q8_0",
    "messages": [
      {
        "role": "system",
        "content": "You are a helpful assistant that speaks like a pirate."
      },
      {
        "role": "user",
        "content": "Tell me about the ocean."
      }
    ],
    "temperature": 0.7,
    "max_tokens": 500
  }'`);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      id: expect.stringMatching(/^chatcmpl-/),
      object: 'chat.completion',
      created: expect.any(Number),
      model: MODEL,
      choices: [{ index: 0, message: { role: 'assistant', content: expect.any(String) }, finish_reason: expect.any(String) }],
      usage: { prompt_tokens: expect.any(Number), completion_tokens: expect.any(Number), total_tokens: expect.any(Number) },
    });
  });

  row('V1', 'the same routes answer below /v1', async () => {
    for (const path of ['/models', `/model/info?model=${MODEL}`, '/chat/completions', '/completions']) {
      const body = { model: MODEL, messages: [{ role: 'user', content: 'Hi' }], prompt: 'Hi', max_tokens: 4 };
      const call = path.startsWith('/model') ? { key: served.key } : { key: served.key, json: body };
      expect([path, (await served.client.call(path, call)).status]).toEqual([path, 200]);
      expect([path, (await served.client.call(`/v1${path}`, call)).status]).toEqual([path, 200]);
    }
  });

  row('V4', 'the streaming example counts to five', async () => {
    const stream = await served.openai().chat.completions.create({
      model: MODEL,
      messages: [{ role: 'user', content: 'Count to 5' }],
      stream: true,
    });
    let text = '';
    for await (const chunk of stream) text += (chunk.choices[0] as { delta: { content?: string | null } }).delta.content ?? '';
    expect(text.length).toBeGreaterThan(0);
  });

  row('V5', 'the example request of completions', async () => {
    const { status, body } = await served.curl(`curl https://ai.hiveops.io/completions \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer sk-YOUR-API-KEY" \\
  -d '{
    "model": "llama3:8b-instruct-q8_0",
    "prompt": "Once upon a time",
    "max_tokens": 50
  }'`);
    expect(status).toBe(200);
    expect(body).toMatchObject({ object: 'text_completion', model: MODEL, choices: [{ index: 0, text: expect.any(String) }] });
    expect(body.usage.completion_tokens).toBeLessThanOrEqual(50);
  });

  row('V5', 'several prompts are several choices, each metered; a stream ends with [DONE]', async () => {
    const one = await served.client.call('/completions', {
      key: served.key,
      json: { model: MODEL, prompt: 'One', max_tokens: 4, stop: ['\n'] },
    });
    const json = { model: MODEL, prompt: ['One', 'One', 'One'], max_tokens: 4, temperature: 0.5, top_p: 1 };
    const three = await served.client.call('/completions', { key: served.key, json });
    expect(three.body.choices.map(({ index }: { index: number }) => index)).toEqual([0, 1, 2]);
    expect(three.body.usage.prompt_tokens).toBe(3 * one.body.usage.prompt_tokens);
    const { text } = await served.client.call('/completions', { key: served.key, json: { ...json, stream: true } });
    expect(eventsOf(text).at(-1)).toBe('[DONE]');
  });

  row('V6', 'the example request of models answers in the documented shape', async () => {
    const { status, body } = await served.curl(`curl https://ai.hiveops.io/models \\
  -H "Authorization: Bearer sk-YOUR-API-KEY"`);
    expect([status, body.object]).toEqual([200, 'list']);
    for (const [id, owner] of CATALOGUE) {
      expect(body.data.find((model: { id: string }) => model.id === id)).toMatchObject({
        object: 'model',
        created: expect.any(Number),
        owned_by: owner,
      });
    }
  });

  row('V7 V8', 'the example request of model info, with context and prices of every model', async () => {
    const { status, body } = await served.curl(`curl "https://ai.hiveops.io/model/info?model=llama3:8b-instruct-q8_0" \\
  -H "Authorization: Bearer sk-YOUR-API-KEY"`);
    expect([status, body.id]).toEqual([200, MODEL]);
    for (const [id, , context, input, output] of CATALOGUE) {
      const { body: info } = await served.client.call(`/model/info?model=${encodeURIComponent(id)}`, { key: served.key });
      // What stands in for the weights here has less, and says so in context_window.
      expect(info).toMatchObject({ id, offered_context_window: context });
      expect(nanos(info.pricing.input_per_million)).toBe(nanos(input));
      expect(nanos(info.pricing.output_per_million)).toBe(nanos(output));
    }
  });

  row('V8', 'a run is charged at the documented rates, to the nano', async () => {
    const before = await served.client.balance(served.key);
    const { body } = await served.client.chat(served.key, { max_tokens: 8 });
    const after = await served.client.balance(served.key);
    const { prompt_tokens: prompt, completion_tokens: completion } = body.usage;
    // $0.010 and $0.020 a million tokens are 10 and 20 nanos a token.
    expect(nanos(before.available) - nanos(after.available)).toBe(BigInt(10 * prompt + 20 * completion));
  });

  row('V10', 'JSON mode gives valid JSON, at any temperature', async () => {
    for (const temperature of [0, 1, 2]) {
      const answer = await served.openai().chat.completions.create({
        model: MODEL,
        messages: [
          { role: 'system', content: 'You are a helpful assistant that outputs JSON.' },
          { role: 'user', content: 'List 3 colors in JSON format.' },
        ],
        response_format: { type: 'json_object' },
        temperature,
        max_tokens: 400,
      });
      const [choice] = answer.choices;
      // A budget that ends in the middle of an object is said to be that, as OpenAI does.
      if (choice?.finish_reason === 'length') continue;
      expect(typeof JSON.parse(choice?.message.content ?? '')).toBe('object');
    }
  });

  row('V4 V11', 'the function calling example gives a call whose arguments fit the schema', async () => {
    const ask = { model: MODEL, messages: [{ role: 'user' as const, content: "What's the weather in Paris?" }], tools: [WEATHER] };
    expect((await served.openai().chat.completions.create(ask)).choices).toHaveLength(1);
    const forced = await served.openai().chat.completions.create({ ...ask, tool_choice: 'required', max_tokens: 400 });
    const [choice] = forced.choices;
    // A model that does not come to an end is brought to one by its budget: the call is whole all the same.
    expect(['tool_calls', 'length']).toContain(choice?.finish_reason);
    const [call] = choice?.message.tool_calls ?? [];
    if (call?.type !== 'function') throw new Error('no function call');
    expect(call.function.name).toBe('get_weather');
    const args = JSON.parse(call.function.arguments);
    expect(typeof args.location).toBe('string');
    if (args.unit !== undefined) expect(['celsius', 'fahrenheit']).toContain(args.unit);
    const back = await served.openai().chat.completions.create({
      model: MODEL,
      messages: [...ask.messages, choice?.message ?? { role: 'assistant' }, { role: 'tool', tool_call_id: call.id, content: '18 degrees' }],
      tools: [WEATHER],
      max_tokens: 32,
    });
    expect(back.choices).toHaveLength(1);
  });

  row('V3', 'every response carries the documented headers', async () => {
    for (const answer of [await served.client.chat(served.key), await served.client.chat('sk-wrong'), await served.client.call('/none')]) {
      expect(answer.headers).toMatchObject({ 'x-ratelimit-limit-requests': '60', 'x-ratelimit-limit-tokens': '150000' });
      expect(Number(answer.headers['x-ratelimit-remaining-requests'])).toBeLessThanOrEqual(60);
      expect(Number(answer.headers['x-ratelimit-remaining-tokens'])).toBeLessThanOrEqual(150_000);
      expect(answer.headers['x-ratelimit-reset-requests']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
    }
  });

  row('V3', 'the sixty-first request of a minute is refused', async () => {
    const { key } = await served.client.signUp('Busy');
    const answers = await Promise.all(Array.from({ length: 61 }, () => served.client.call('/models', { key })));
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(1);
  });

  row('V9', 'errors have the documented shape; without money the status is 403', async () => {
    const wrong = await served.client.chat('sk-wrong');
    expect([wrong.status, wrong.body]).toEqual([
      401,
      { error: { message: expect.any(String), type: 'invalid_request_error', code: 'invalid_api_key' } },
    ]);
    const { key, projectId } = await served.client.signUp('Poor');
    const { available } = await served.client.balance(key);
    if (nanos(available) > 0n) await served.client.grant({ project_id: projectId }, `-${available}`);
    const answer = await served.client.chat(key);
    expect([answer.status, Object.keys(answer.body.error).sort(), answer.headers['retry-after']]).toEqual([
      403,
      expect.arrayContaining(['code', 'message', 'type']),
      undefined,
    ]);
  });

  row('V4', 'stop sequences and penalties are taken in a stream, too', async () => {
    const { status, text } = await served.client.chat(served.key, {
      stream: true,
      stop: ['zzz'],
      presence_penalty: 0.5,
      frequency_penalty: 0.5,
      top_p: 0.9,
      max_tokens: 8,
    });
    expect([status, typeof textOf(text)]).toEqual([200, 'string']);
  });
});

describe("HiveOps' document, without the switch", () => {
  const served = serve({
    preset: 'hiveops',
    model: MODEL,
    host: 'https://ai.hiveops.io',
    keys: ['sk-YOUR-API-KEY'],
    environment: { FAREBOX_ENGINE: 'echo', FAREBOX_TRUST_PROXY: 'true' },
  });

  row('V2', 'plain HTTP is refused where a proxy says that it was plain', async () => {
    const plain = await served.client.call('/models', { key: served.key, headers: [['X-Forwarded-Proto', 'http']] });
    expect([plain.status, plain.body.error.message]).toEqual([403, expect.stringMatching(/https/i)]);
    const secure = await served.client.call('/models', { key: served.key, headers: [['X-Forwarded-Proto', 'https']] });
    expect(secure.status).toBe(200);
  });
});
