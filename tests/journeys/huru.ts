/** The requests that Huru's document prints, sent to a Farebox that serves Huru's offer: credits, consumers who pay for themselves, metadata events. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { CreateDeployment, Deployment } from '../support/deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import { pasted } from '../support/shell.js';
import { eventsOf } from '../support/stream-events.js';

const MODEL = 'huru/chat-1';
const STARTER_CREDITS = 10;
const REQUESTS_PER_MINUTE = 60;

export function describeHuruJourney(wiring: string, create: CreateDeployment): void {
  describe(`Huru's document, ${wiring}`, () => {
    let deployment: Deployment;
    let client: FareboxClient;
    let key: string;
    const from = (email: string): [string, string][] => [['X-Consumer-Email', email]];
    beforeAll(async () => {
      deployment = await create({ preset: 'huru' });
      await deployment.start();
      client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: MODEL });
      key = (await client.signUp('Journey')).key;
    }, 120_000);
    afterAll(async () => {
      client?.close();
      await deployment?.dispose();
    }, 120_000);

    test('the quickstart answers with credits used', async () => {
      const text = await pasted(`curl ${deployment.baseUrl}/v1/chat/completions \\
  -H "Authorization: Bearer ${key}" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "huru/chat-1",
    "messages": [
      { "role": "user", "content": "Hello from Huru" }
    ]
  }'`);
      expect(JSON.parse(text)).toMatchObject({
        id: expect.stringMatching(/^chatcmpl-/),
        object: 'chat.completion',
        choices: [{ message: { role: 'assistant', content: expect.any(String) }, finish_reason: expect.any(String) }],
        huru: { request_id: expect.stringMatching(/^req_/), credits_used: 1, verified: false, provider: expect.any(String) },
      });
    });

    test('the consumer request provisions a consumer, who pays', async () => {
      const before = await client.balance(key);
      const text = await pasted(`curl ${deployment.baseUrl}/v1/chat/completions \\
  -H "Authorization: Bearer ${key}" \\
  -H "X-Consumer-Email: jane@example.com" \\
  -H "X-Consumer-Name: Jane Doe" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "huru/chat-1",
    "messages": [{ "role": "user", "content": "Hello" }]
  }'`);
      expect(JSON.parse(text).huru.credits_used).toBe(1);
      expect(await client.balance(key)).toEqual(before);
      const { body } = await client.call('/v1/consumers', { key });
      expect(body).toMatchObject({
        object: 'list',
        data: [
          {
            id: expect.stringMatching(/^con_/),
            email: 'jane@example.com',
            name: 'Jane Doe',
            credits_balance: STARTER_CREDITS - 1,
            created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
          },
        ],
      });
      const detail = await client.call(`/v1/consumers/${body.data[0].id}`, { key });
      expect(detail.body).toMatchObject({ email: 'jane@example.com', credits_balance: STARTER_CREDITS - 1 });
    });

    test('at zero credits the answer is the documented 402', async () => {
      for (let run = 0; run < STARTER_CREDITS; run += 1) expect((await client.chat(key, {}, from('poor@example.com'))).status).toBe(200);
      const { status, body } = await client.chat(key, {}, from('poor@example.com'));
      expect(status).toBe(402);
      expect(body).toEqual({
        error: {
          type: 'billing_error',
          code: 'insufficient_credits',
          message: expect.stringMatching(/^Consumer does not have enough credits/),
          checkout_url: expect.stringMatching(/^http/),
        },
      });
      expect((await fetch(body.error.checkout_url)).status).toBe(200);
    });

    test('a stream opens and closes with a metadata event', async () => {
      const { text, headers } = await client.chat(key, { stream: true });
      expect(headers['content-type']).toMatch(/^text\/event-stream/);
      const events = eventsOf(text) as { huru?: { request_id: string } }[];
      const requestId = events[0]?.huru?.request_id;
      expect(events[0]).toEqual({ huru: { request_id: expect.stringMatching(/^req_/) } });
      expect(events.at(-2)).toMatchObject({ huru: { request_id: requestId, credits_used: 1, verified: false } });
      expect(events.at(-1)).toBe('[DONE]');
      const record = await client.call(`/v1/requests/${requestId}`, { key });
      expect(record.body).toMatchObject({ status: 'completed', credits_used: 1, errors: [] });
    });

    test('usage answers with totals and a daily breakdown', async () => {
      const today = new Date().toISOString().slice(0, 10);
      const { status, body } = await client.call(`/v1/usage?from=${today.slice(0, 8)}01&to=${today}`, { key });
      expect(status).toBe(200);
      expect(body.totals.credits_used).toBe(body.days.reduce((sum: number, day: { credits_used: number }) => sum + day.credits_used, 0));
    });

    test('projects are created for tests unless asked otherwise; keys begin as documented', async () => {
      const test = await client.call('/v1/projects', { json: { name: 'Huru app' } });
      expect([test.status, test.body.environment, test.body.credits_balance]).toEqual([201, 'test', 100]);
      expect(test.body.api_key).toMatch(/^sk_test_/);
      const live = await client.call('/v1/projects', { json: { name: 'Huru app', environment: 'live', slug: 'huru-app-live' } });
      expect(live.body).toMatchObject({ slug: 'huru-app-live', api_key: expect.stringMatching(/^sk_live_/) });
    });

    test('an idempotent request is replayed and charged once', async () => {
      const before = Number((await client.balance(key)).available);
      const run = () => client.chat(key, {}, [['Idempotency-Key', 'unique-key-123']]);
      const [first, second] = [await run(), await run()];
      expect(second.body).toEqual({ ...first.body, idempotent_replay: true });
      expect(before - Number((await client.balance(key)).available)).toBe(1);
    });

    test('errors have the documented shape, types and codes', async () => {
      const expected = [
        [client.chat(key, { messages: 'none' }), 400, 'invalid_request'],
        [client.chat(key, { temperature: 9 }), 400, 'invalid_request'],
        [client.call('/v1/chat/completions', { key, raw: '{', headers: [['Content-Type', 'application/json']] }), 400, 'invalid_request'],
        [client.chat('sk_live_wrong'), 401, 'authentication_error'],
        [client.call('/v1/usage'), 401, 'authentication_error'],
      ] as const;
      for (const [answer, status, code] of expected) {
        const { status: actual, body } = await answer;
        expect([actual, Object.keys(body), body.error.code, typeof body.error.message]).toEqual([status, ['error'], code, 'string']);
      }
    });

    test('the bucket of a minute is sixty requests, and every response says what is left', async () => {
      const { key: busy } = await client.signUp('Busy');
      const answers = await Promise.all(Array.from({ length: REQUESTS_PER_MINUTE + 10 }, () => client.call('/v1/models', { key: busy })));
      const admitted = answers.filter(({ status }) => status === 200).length;
      // A token drips back every second.
      expect(admitted).toBeGreaterThanOrEqual(REQUESTS_PER_MINUTE);
      expect(admitted).toBeLessThan(REQUESTS_PER_MINUTE + 10);
      const refused = answers.find(({ status }) => status === 429);
      expect(refused?.body.error).toMatchObject({ code: 'rate_limit_exceeded' });
      expect(refused?.headers).toMatchObject({ 'x-ratelimit-limit-minute': '60', 'x-ratelimit-limit-day': '1000' });
      expect(refused?.headers['x-ratelimit-remaining-minute']).toBe('0');
      expect(Number(refused?.headers['x-ratelimit-reset-minute'])).toBeGreaterThan(1_700_000_000);
    });
  });
}
