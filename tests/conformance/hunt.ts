/** The requests that Hunt's document prints, sent to a Farebox that serves Hunt's offer: rows H1 to H10 of the API as a client meets them. */
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import OpenAI from 'openai';
import { nanos } from '../support/amounts.js';
import type { CreateDeployment, Deployment } from '../support/deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import { pasted } from '../support/shell.js';
import { row } from './row.js';

const MODEL = 'hunt-llama-3.1-8b';
/** 0.08 USD a run: the starter dollar is twelve of them. */
const PRO_MODEL = 'hunt-llama-3.1-70b';
const STARTER_PRO_RUNS = 12;
const BURST = 120;
const INCLUDED_TOKENS = 5_000;
const AT_ONCE = 10;

export function describeHuntConformance(wiring: string, create: CreateDeployment): void {
  describe(`Hunt's document, ${wiring}`, () => {
    let deployment: Deployment;
    let client: FareboxClient;
    let key: string;
    beforeAll(async () => {
      deployment = await create({ preset: 'hunt' });
      await deployment.start();
      client = createFareboxClient({ ...target(deployment), model: MODEL });
      key = deployment.welcome.demoKey;
    }, 120_000);
    afterAll(async () => {
      client?.close();
      await deployment?.dispose();
    }, 120_000);

    row('H2 H3 H4', 'the keys, the starter dollar and the seven models are as documented', async () => {
      const { status, body } = await client.call('/v1/projects', { json: { name: 'Hunter', environment: 'live' } });
      expect([status, body.balance, body.unit]).toEqual([201, '1', 'USD']);
      expect(body.api_key).toMatch(/^hunt_sk_live_/);
      expect(key).toMatch(/^hunt_sk_live_/);
      const models = await client.call('/v1/models', { key });
      expect(models.body.data.map((model: { id: string }) => model.id)).toHaveLength(7);
    });

    row('H1', 'the first request of the document answers in the documented shape', async () => {
      const text = await pasted(`curl ${deployment.baseUrl}/v1/chat/completions \\
  -H "Authorization: Bearer ${key}" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "hunt-llama-3.1-8b",
    "messages": [
      {"role": "user", "content": "Hello, world!"}
    ]
  }'`);
      const body = JSON.parse(text);
      expect(body).toMatchObject({
        id: expect.stringMatching(/^chatcmpl-/),
        object: 'chat.completion',
        created: expect.any(Number),
        model: MODEL,
        choices: [{ index: 0, message: { role: 'assistant', content: expect.any(String) }, finish_reason: expect.any(String) }],
        usage: { prompt_tokens: expect.any(Number), completion_tokens: expect.any(Number), total_tokens: expect.any(Number) },
      });
      expect(Object.keys(body)).not.toContain('hunt');
    });

    row('H1 H5', 'every documented parameter is taken, and one run costs the documented price', async () => {
      const { available } = await client.balance(key);
      const answer = await client.call('/v1/chat/completions', {
        key,
        json: {
          model: MODEL,
          messages: [
            { role: 'system', content: 'You are a helpful assistant.' },
            { role: 'user', content: 'Explain quantum computing in simple terms.' },
          ],
          temperature: 0.7,
          top_p: 1,
          max_tokens: 512,
          stream: false,
        },
      });
      expect(answer.status).toBe(200);
      const spent = Number(available) - Number((await client.balance(key)).available);
      expect(spent.toFixed(9)).toBe('0.020000000');
    });

    row('H5', 'three tiers have three prices, and what exceeds the included tokens is charged at the documented rate', async () => {
      const { key: payer } = await client.signUp('Tiers');
      const charged = async (body: Readonly<Record<string, unknown>>) => {
        const before = nanos((await client.balance(payer)).available);
        const answer = await client.chat(payer, { max_tokens: 16, ...body });
        expect(answer.status).toBe(200);
        return { nanos: before - nanos((await client.balance(payer)).available), tokens: answer.body.usage.total_tokens as number };
      };
      expect((await charged({ model: 'hunt-phi-3.5-mini' })).nanos).toBe(nanos('0.005'));
      expect((await charged({ model: 'hunt-mistral-7b' })).nanos).toBe(nanos('0.02'));
      expect((await charged({ model: 'hunt-qwen-2.5-32b' })).nanos).toBe(nanos('0.08'));
      const long = [{ role: 'user', content: 'word '.repeat(5_000) }];
      const over = await charged({ messages: long });
      expect(over.tokens).toBeGreaterThan(INCLUDED_TOKENS);
      // $0.003 per thousand tokens are 3,000 nanos a token.
      expect(over.nanos).toBe(nanos('0.02') + BigInt(over.tokens - INCLUDED_TOKENS) * 3_000n);
    });

    row('H6', 'a tool call costs what the run costs', async () => {
      const { available } = await client.balance(key);
      const tools = [{ type: 'function', function: { name: 'search', parameters: { type: 'object', properties: {} } } }];
      const { status, body } = await client.chat(key, { tools, tool_choice: 'required' });
      expect([status, body.choices[0].finish_reason]).toEqual([200, 'tool_calls']);
      expect(nanos(available) - nanos((await client.balance(key)).available)).toBe(nanos('0.02'));
    });

    row('H10', 'the documentation is a playground of this very offer', async () => {
      expect((await client.call('/docs')).headers['content-type']).toMatch(/^text\/html/);
      const { body } = await client.call('/openapi.json');
      expect(Object.keys(body.paths)).toEqual(expect.arrayContaining(['/v1/chat/completions', '/v1/models']));
    });

    row('H12', "OpenAI's SDK works unchanged, also streamed", async () => {
      const openai = new OpenAI({ baseURL: `${deployment.baseUrl}/v1`, apiKey: key, maxRetries: 0 });
      const messages = [{ role: 'user' as const, content: 'Tell me a story' }];
      const response = await openai.chat.completions.create({ model: MODEL, messages, temperature: 0.7, max_tokens: 512 });
      expect(response.choices[0]?.message.content?.length).toBeGreaterThan(0);
      const stream = await openai.chat.completions.create({ model: MODEL, messages, stream: true });
      let text = '';
      // As the document's Python loop does: `choices[0]` of every chunk exists.
      for await (const chunk of stream) text += (chunk.choices[0] as { delta: { content?: string | null } }).delta.content ?? '';
      expect(text.length).toBeGreaterThan(0);
    });

    row('H8', 'every response carries the three rate limit headers', async () => {
      for (const answer of [await client.chat(key), await client.chat(key, { model: 'none' }), await client.chat('wrong')]) {
        expect(answer.headers).toMatchObject({ 'x-ratelimit-limit': '60' });
        expect(Number(answer.headers['x-ratelimit-remaining'])).toBeLessThanOrEqual(BURST);
        expect(Number(answer.headers['x-ratelimit-reset'])).toBeGreaterThan(1_700_000_000);
      }
    });

    row('H9', 'errors carry `detail` and the documented status', async () => {
      const statusOf = async (call: ReturnType<FareboxClient['call']>) => {
        const { status, body } = await call;
        expect(body).toEqual({ detail: expect.any(String) });
        return status;
      };
      const wrongKey = await client.chat('hunt_sk_live_wrong');
      expect([wrongKey.status, wrongKey.body]).toEqual([401, { detail: 'Invalid API key' }]);
      expect(await statusOf(client.call('/v1/models'))).toBe(401);
      expect(await statusOf(client.chat(key, { temperature: 3 }))).toBe(400);
      expect(await statusOf(client.call('/v1/chat/completions', { key, raw: '{' }))).toBe(400);
      expect(await statusOf(client.chat(key, { model: 'hunt-none' }))).toBe(404);
      expect(await statusOf(client.call('/v1/none', { key }))).toBe(404);
    });

    row('H9', 'without credit the answer is 403, and says so', async () => {
      const { key: poor } = await client.signUp('Poor');
      const run = () => client.chat(poor, { model: PRO_MODEL });
      for (let runs = 0; runs < STARTER_PRO_RUNS; runs += 1) expect((await run()).status).toBe(200);
      const refused = await run();
      expect([refused.status, Object.keys(refused.body), refused.headers['retry-after']]).toEqual([403, ['detail'], undefined]);
      expect(refused.body.detail).toMatch(/credit/);
      expect(await client.balance(poor)).toMatchObject({ available: '0.04', held: '0' });
    });

    row('H4', 'five keys may be active; a revoked one is refused with 403', async () => {
      const { key: first } = await client.signUp('Keys');
      const make = () => client.call('/v1/keys', { key: first, json: { name: 'another' } });
      const made = [await make(), await make(), await make(), await make()];
      expect(made.map(({ status }) => status)).toEqual([201, 201, 201, 201]);
      expect((await make()).status).toBe(409);
      const [{ body: second } = { body: null }] = made;
      expect((await client.call(`/v1/keys/${second.id}`, { key: first, method: 'DELETE' })).status).toBe(200);
      const refused = await client.call('/v1/models', { key: second.key });
      expect([refused.status, refused.body]).toEqual([403, { detail: expect.stringContaining('revoked') }]);
    });

    row('H7', 'a burst beyond the limit meets 429 with the time of the reset', async () => {
      const { key: busy } = await client.signUp('Busy');
      const answers = [];
      while (answers.length <= BURST) {
        answers.push(...(await Promise.all(Array.from({ length: AT_ONCE }, () => client.call('/v1/models', { key: busy })))));
      }
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(BURST);
      const refused = answers.find(({ status }) => status === 429);
      expect(refused?.body).toEqual({ detail: expect.any(String) });
      expect(refused?.headers['x-ratelimit-remaining']).toBe('0');
      expect(Number(refused?.headers['retry-after'])).toBeGreaterThan(0);
    });
  });
}

function target({ baseUrl, adminKey }: Deployment) {
  return { baseUrl, adminKey };
}
