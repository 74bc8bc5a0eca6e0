/** D9: what is not served says so and names a way; D10: ids of others are not aliased. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type ChatApi, startChatApi } from '../../testing/chat-api.js';

let api: ChatApi;
let hunt: ChatApi;
let hiveops: ChatApi;
beforeAll(async () => {
  [api, hunt, hiveops] = await Promise.all([
    startChatApi({ preset: 'hoonify-dev' }),
    startChatApi({ preset: 'hunt' }),
    startChatApi({ preset: 'hiveops' }),
  ]);
});
afterAll(() => Promise.all([api.close(), hunt.close(), hiveops.close()]));

describe('D9', () => {
  test.each([
    ['GET', '/v1/realtime', /server-sent events/],
    ['POST', '/v1/realtime/sessions', /server-sent events/],
    ['POST', '/v1/assistants', /messages/],
    ['POST', '/v1/threads/thread_1/runs', /messages/],
    ['POST', '/v1/vector_stores', /store of your own/],
    ['POST', '/v1/responses', /chat\/completions/],
    ['POST', '/v1/batches', /in parallel/],
    ['POST', '/v1/files', /messages/],
    ['DELETE', '/v1/files/file_1', /messages/],
    ['POST', '/v1/fine_tuning/jobs', /open weights/],
    ['POST', '/v1/images/generations', /dedicated provider/],
    ['POST', '/v1/audio/speech', /dedicated provider/],
    ['POST', '/v1/audio/transcriptions', /dedicated provider/],
    ['POST', '/v1/moderations', /chat model/],
  ])('%s %s: 404 that names what to do instead', async (method, path, way) => {
    const answer = await api.call(path, { method });
    expect([answer.status, answer.body.error]).toMatchObject([
      404,
      { type: 'invalid_request_error', code: 'endpoint_not_served', message: expect.stringMatching(way) },
    ]);
  });

  test('what sounds alike and is nobody’s stays an unknown path', async () => {
    for (const path of ['/v1/realtimes', '/v1/filesystem', '/realtime', '/v1/nothing']) {
      expect((await api.call(path)).body.error.code).toBe('endpoint_not_found');
    }
  });

  test('an offer without embedding models says so, in its own dialect and under both addresses', async () => {
    const refused = await hunt.call('/v1/embeddings', { json: { model: 'hunt-phi-3.5-mini', input: 'x' } });
    expect([refused.status, refused.body]).toEqual([404, { detail: expect.stringMatching(/No model of this offer/) }]);
    for (const path of ['/v1/embeddings', '/embeddings', '/files', '/v1/files']) {
      expect((await hiveops.call(path, { json: {} })).body.error.code).toBe('endpoint_not_served');
    }
  });
});

describe('D10', () => {
  test.each(['gpt-4o', 'o3-mini', 'claude-3-5-sonnet', 'gemini-1.5-pro'])(
    '%s: 404, proprietary, with the nearest that is offered',
    async (model) => {
      const answer = await api.chat({ model });
      expect([answer.status, answer.body.error.code]).toEqual([404, 'model_not_found']);
      expect(answer.body.error.message).toMatch(/proprietary.*The nearest is "(llama-3.3-70b|qwen-2.5-72b|deepseek-v3|mixtral-8x22b)"/);
    },
  );

  test.each([
    ['llama-3-70b', 'llama-3.3-70b'],
    ['Qwen/Qwen2.5-72B', 'qwen-2.5-72b'],
    ['mixtral-8x7b', 'mixtral-8x22b'],
  ])('%s: 404 with %s', async (model, nearest) => {
    const { status, body } = await api.chat({ model });
    expect([status, body.error.message]).toEqual([404, expect.stringContaining(`"${nearest}"`)]);
    expect(body.error.message).not.toMatch(/proprietary/);
  });

  test('an embedding model does not chat', async () => {
    const answer = await api.chat({ model: 'nomic-embed-text-v1.5' });
    expect([answer.status, answer.body.error]).toMatchObject([400, { param: 'model' }]);
  });
});
