/** What is on offer, and what runs it. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type ChatApi, CONTEXT_TOKENS_MAX, startChatApi } from '../../testing/chat-api.js';

let hunt: ChatApi;
let huru: ChatApi;
beforeAll(async () => {
  [hunt, huru] = await Promise.all([startChatApi({ preset: 'hunt' }), startChatApi({ preset: 'huru' })]);
});
afterAll(() => Promise.all([hunt.close(), huru.close()]));

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
