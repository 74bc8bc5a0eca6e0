/** The requests that Huru's document prints, sent to a Farebox that serves Huru's offer: credits, consumers who pay for themselves, metadata events. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import type { CreateDeployment, Deployment } from '../support/deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import { pasted } from '../support/shell.js';
import { eventsOf } from '../support/stream-events.js';
import { makeTemporaryDirectory } from '../support/temporary-directory.js';
import { waveFile } from '../support/wave-file.js';
import { row } from './row.js';

const MODEL = 'huru/chat-1';
const STARTER_CREDITS = 10;
const REQUESTS_PER_MINUTE = 60;

export function describeHuruConformance(wiring: string, create: CreateDeployment): void {
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

    row('U1 U4', 'the quickstart answers with credits used', async () => {
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
        huru: { request_id: expect.stringMatching(/^req_/), credits_used: 1, verified: true, provider: expect.any(String) },
      });
    });

    row('U5 U7', 'the consumer request provisions a consumer, who pays', async () => {
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

    row('U7', 'a consumer gets a checkout in the documented shape', async () => {
      const [consumer] = (await client.call('/v1/consumers', { key })).body.data;
      const text = await pasted(`curl -X POST ${deployment.baseUrl}/v1/consumers/${consumer.id}/checkout \\
  -H "Authorization: Bearer ${key}" \\
  -H "Content-Type: application/json" \\
  -d '{ "pack_id": "credits_10" }'`);
      expect(JSON.parse(text)).toMatchObject({
        object: 'checkout.session',
        provider: expect.any(String),
        reference: expect.stringMatching(/^huru_topup_/),
        authorization_url: expect.stringMatching(/^http/),
        credits_awarded: 100,
        status: 'pending',
      });
    });

    row('U10 U4', 'the three packs are sold to the project', async () => {
      for (const [pack, credits] of [
        ['credits_10', 100],
        ['credits_25', 300],
        ['credits_100', 1_400],
      ] as const) {
        const json = { pack_id: pack, success_url: 'https://example.com/paid', cancel_url: 'https://example.com/not' };
        const { status, body } = await client.call('/v1/billing/checkout', { key, json });
        expect([status, body.credits_awarded, body.status]).toEqual([201, credits, 'pending']);
      }
      const none = await client.call('/v1/billing/checkout', { key, json: { pack_id: 'credits_7' } });
      expect([none.status, none.body.error.code]).toEqual([400, 'invalid_request']);
    });

    row('U6 U4', 'a recording is transcribed as the example asks, at a credit for every 500 KB that is started', async () => {
      const directory = await makeTemporaryDirectory();
      try {
        const path = join(directory.path, 'recording.wav');
        await writeFile(path, waveFile(20));
        const before = Number((await client.balance(key)).available);
        const text = await pasted(`curl ${deployment.baseUrl}/v1/audio/transcriptions \\
  -H "Authorization: Bearer ${key}" \\
  -F file=@${path} \\
  -F model=huru/stt-1`);
        expect(JSON.parse(text)).toMatchObject({ text: expect.any(String) });
        // 20 s of 16 kHz mono in 16 bits are 640,044 bytes: two units.
        expect(before - Number((await client.balance(key)).available)).toBe(2);
      } finally {
        await directory.remove();
      }
    });

    row('U9 U1', 'a request has a record and a verification', async () => {
      const { body } = await client.chat(key);
      const { request_id: id, verified, verification_mode: mode } = body.huru;
      expect([verified, ['signed', 'tee'].includes(mode)]).toEqual([true, true]);
      const record = await client.call(`/v1/requests/${id}`, { key });
      expect(record.body).toMatchObject({ id, status: 'completed', errors: [] });
      const verification = await client.call(`/v1/requests/${id}/verification`, { key });
      expect(verification.body).toMatchObject({
        verified: true,
        verification_mode: mode,
        provider: expect.any(String),
        report_id: expect.stringMatching(/^att_/),
        quote_hash: expect.stringMatching(/^0x[0-9a-f]+$/),
        verified_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      });
    });

    row('U5 U15', 'at zero credits the answer is the documented 402', async () => {
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

    row('U13 U9', 'a stream opens and closes with a metadata event', async () => {
      const { text, headers } = await client.chat(key, { stream: true });
      expect(headers['content-type']).toMatch(/^text\/event-stream/);
      const events = eventsOf(text) as { huru?: { request_id: string } }[];
      const requestId = events[0]?.huru?.request_id;
      expect(events[0]).toEqual({ huru: { request_id: expect.stringMatching(/^req_/) } });
      expect(events.at(-2)).toMatchObject({ huru: { request_id: requestId, credits_used: 1, verified: true } });
      expect(events.at(-1)).toBe('[DONE]');
      const record = await client.call(`/v1/requests/${requestId}`, { key });
      expect(record.body).toMatchObject({ status: 'completed', credits_used: 1, errors: [] });
    });

    row('U8', 'usage answers with totals and a daily breakdown', async () => {
      const today = new Date().toISOString().slice(0, 10);
      const { status, body } = await client.call(`/v1/usage?from=${today.slice(0, 8)}01&to=${today}`, { key });
      expect(status).toBe(200);
      expect(body.totals.credits_used).toBe(body.days.reduce((sum: number, day: { credits_used: number }) => sum + day.credits_used, 0));
    });

    row('U2 U11', 'projects are created for tests unless asked otherwise; keys begin as documented', async () => {
      const test = await client.call('/v1/projects', { json: { name: 'Huru app' } });
      expect([test.status, test.body.environment, test.body.credits_balance]).toEqual([201, 'test', 100]);
      expect(test.body.api_key).toMatch(/^sk_test_/);
      const live = await client.call('/v1/projects', { json: { name: 'Huru app', environment: 'live', slug: 'huru-app-live' } });
      expect(live.body).toMatchObject({ slug: 'huru-app-live', api_key: expect.stringMatching(/^sk_live_/) });
    });

    row('U12', 'an idempotent request is replayed and charged once', async () => {
      const before = Number((await client.balance(key)).available);
      const run = () => client.chat(key, {}, [['Idempotency-Key', 'unique-key-123']]);
      const [first, second] = [await run(), await run()];
      expect(second.body).toEqual({ ...first.body, idempotent_replay: true });
      expect(before - Number((await client.balance(key)).available)).toBe(1);
    });

    row('U15', 'errors have the documented shape, types and codes', async () => {
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

    row('U14', 'the bucket of a minute is sixty requests, and every response says what is left', async () => {
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
