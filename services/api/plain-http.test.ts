/** V1 and V2: where routes answer, and how requests may come. */
import { afterEach, describe, expect, test } from '@jest/globals';
import type { Transport } from './plain-http.js';
import { type ChatApi, startChatApi } from './testing/chat-api.js';

let api: ChatApi | null = null;
afterEach(async () => {
  await api?.close();
  api = null;
});

async function statusOf(transport: Transport | undefined, forwarded: string | null, path = '/v1/models', preset = 'hiveops') {
  api ??= await startChatApi({ preset, ...(transport === undefined ? {} : { transport }) });
  return (await api.call(path, { headers: forwarded === null ? [] : [['X-Forwarded-Proto', forwarded]] })).status;
}

describe('V2: plain HTTP', () => {
  test('an https-only preset takes what never left this machine, and nothing that a proxy got in the clear', async () => {
    expect(await statusOf(undefined, null)).toBe(200);
    expect(await statusOf(undefined, 'http')).toBe(403);
  });

  test('"https" is believed only where a proxy is trusted', async () => {
    expect(await statusOf(undefined, 'https')).toBe(403);
    await api?.close();
    api = null;
    const trusting = { plainHttp: undefined, trustsProxy: true };
    expect(await statusOf(trusting, 'https')).toBe(200);
    expect(await statusOf(trusting, 'HTTPS, http')).toBe(200);
    expect(await statusOf(trusting, 'http, https')).toBe(403);
    expect(await statusOf(trusting, '')).toBe(403);
  });

  test('refuse: not even from this machine, but for health checks', async () => {
    const transport = { plainHttp: 'refuse', trustsProxy: true } as const;
    expect(await statusOf(transport, null)).toBe(403);
    expect(await statusOf(transport, 'https')).toBe(200);
    for (const path of ['/healthz', '/readyz', '/metrics']) expect(await statusOf(transport, null, path)).toBe(200);
    for (const path of ['/docs', '/openapi.json', '/v1/nothing']) expect(await statusOf(transport, null, path)).toBe(403);
  });

  test('allow: the switch overrules the preset; the other presets allow by themselves', async () => {
    expect(await statusOf({ plainHttp: 'allow', trustsProxy: false }, 'http')).toBe(200);
    await api?.close();
    api = null;
    expect(await statusOf(undefined, 'http', '/v1/models', 'farebox')).toBe(200);
  });

  test('the refusal is typed', async () => {
    api = await startChatApi({ preset: 'hiveops', transport: { plainHttp: 'refuse', trustsProxy: false } });
    expect((await api.call('/v1/models')).body.error).toMatchObject({ code: 'https_required', type: 'invalid_request_error' });
  });
});

describe('V1: with and without /v1', () => {
  test('every route that a key opens answers under both addresses, and no other', async () => {
    api = await startChatApi({ preset: 'hiveops' });
    for (const { method, path, policy } of api.api.routes.filter((route) => route.path.startsWith('/v1/'))) {
      const asked = path.replace(/[:*]\w+/g, 'nothing');
      const withKey = { method: method.toUpperCase(), key: null };
      const [plain, short] = [await api.call(asked, withKey), await api.call(asked.slice('/v1'.length), withKey)];
      const expected = policy === 'project_key' ? [401, 401] : [plain.status, 404];
      expect([path, plain.status, short.status]).toEqual([path, ...expected]);
    }
  });

  test('a chat is the same run under both', async () => {
    api = await startChatApi({ preset: 'hiveops' });
    const json = { model: api.model, messages: [{ role: 'user', content: 'Hello' }] };
    const answers = [await api.call('/chat/completions', { json }), await api.call('/v1/chat/completions', { json })];
    expect(answers.map(({ status, body }) => [status, body.object])).toEqual([
      [200, 'chat.completion'],
      [200, 'chat.completion'],
    ]);
  });

  test('V7: the printed request for a model’s details', async () => {
    api = await startChatApi({ preset: 'hiveops' });
    for (const path of ['/model/info', '/v1/model/info']) {
      const { status, body } = await api.call(`${path}?model=llama3:8b-instruct-q8_0`);
      expect([status, body]).toMatchObject([
        200,
        {
          id: 'llama3:8b-instruct-q8_0',
          provider: 'Meta AI',
          pricing: { unit: 'USD', input_per_million: '0.01', output_per_million: '0.02' },
        },
      ]);
    }
    expect((await api.call('/model/info?model=gpt-4o')).status).toBe(404);
    expect((await api.call('/model/info')).status).toBe(400);
  });

  test('other presets have /v1 alone', async () => {
    api = await startChatApi({ preset: 'hoonify-ai' });
    expect([(await api.call('/v1/models')).status, (await api.call('/models')).status]).toEqual([200, 404]);
  });
});
