/**
 * The path of a newcomer, from the first line printed to the books of a month: paste the curl line, point the OpenAI SDK at it, bill a consumer,
 * run out, top up, ask why, retry, restart, verify. Runs under any wiring; the steps build on each other, as they do for people.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { waitFor } from '../../platform/testing/wait-for.js';
import { nanos, sumOf } from '../support/amounts.js';
import type { CreateDeployment, Deployment } from '../support/deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import { pasted } from '../support/shell.js';
import { textOf, usageOf } from '../support/stream-events.js';

/** Sold by the run at 0.001 USD, so that a consumer's starter credit of 0.10 USD is exactly a hundred runs. */
const PER_RUN_MODEL = 'phi-3.5-mini';
const STARTER_RUNS = 100;
/** Below the preset's limit of concurrent requests. */
const AT_ONCE = 40;
const CONSUMER = 'jane@example.com';
/** From one end of the earth's days to the other, with a half and a quarter of an hour between. */
const TIME_ZONES = ['UTC', 'Pacific/Kiritimati', 'Pacific/Niue', 'Asia/Kathmandu', 'America/St_Johns', 'Europe/Berlin'];

type Usage = { totals: Record<string, number | string>; days: Record<string, number | string>[] };

export function describeNewcomerJourney(wiring: string, create: CreateDeployment): void {
  describe(`a newcomer's path, ${wiring}`, () => {
    let deployment: Deployment;
    let client: FareboxClient;
    let key: string;
    const connect = () => {
      client = createFareboxClient(deployment);
    };
    const asConsumer = (email: string) => client.chat(key, { model: PER_RUN_MODEL }, [['X-Consumer-Email', email]]);
    beforeAll(async () => {
      deployment = await create();
      await deployment.start();
      connect();
      key = deployment.welcome.demoKey;
    }, 120_000);
    afterAll(async () => {
      client?.close();
      await deployment?.dispose();
    }, 120_000);

    test('the printed curl line answers when it is pasted into a shell', async () => {
      const answer = JSON.parse(await pasted(deployment.welcome.curlLine));
      expect(answer).toMatchObject({ object: 'chat.completion', choices: [{ message: { role: 'assistant' } }] });
      expect(answer.choices[0].message.content.length).toBeGreaterThan(0);
      expect(answer.usage.total_tokens).toBe(answer.usage.prompt_tokens + answer.usage.completion_tokens);
    });

    test('it is ready, and says what it is', async () => {
      expect((await client.call('/readyz')).body).toEqual({ status: 'ready' });
      expect((await client.call('/docs')).status).toBe(200);
      const models = await client.call('/v1/models', { key });
      expect(models.body.data.map((model: { id: string }) => model.id)).toContain('farebox-tiny');
    });

    describe("OpenAI's client, unchanged", () => {
      const openai = () => new OpenAI({ baseURL: `${deployment.baseUrl}/v1`, apiKey: key, maxRetries: 0 });

      test('a plain completion', async () => {
        const answer = await openai().chat.completions.create({
          model: 'farebox-tiny',
          messages: [{ role: 'user', content: 'Tell me a story' }],
        });
        expect(answer.choices[0]?.message.content?.length).toBeGreaterThan(0);
      });

      test('a stream', async () => {
        const stream = await openai().chat.completions.create({
          model: 'farebox-tiny',
          messages: [{ role: 'user', content: 'Count to five' }],
          stream: true,
        });
        let text = '';
        let finishReason: string | null = null;
        for await (const chunk of stream) {
          text += chunk.choices[0]?.delta?.content ?? '';
          finishReason = chunk.choices[0]?.finish_reason ?? finishReason;
        }
        expect(text.length).toBeGreaterThan(0);
        expect(['stop', 'length']).toContain(finishReason);
      });

      test('a stream that ends with its usage', async () => {
        const stream = await openai().chat.completions.create({
          model: 'farebox-tiny',
          messages: [{ role: 'user', content: 'Count to five' }],
          stream: true,
          stream_options: { include_usage: true },
          max_tokens: 16,
        });
        const usages = [];
        for await (const chunk of stream) if (chunk.usage) usages.push(chunk.usage);
        expect(usages).toHaveLength(1);
        expect(usages[0]?.completion_tokens).toBeGreaterThan(0);
        expect(usages[0]?.completion_tokens).toBeLessThanOrEqual(16);
      });

      test('refusals arrive as its own error classes', async () => {
        const client = new OpenAI({ baseURL: `${deployment.baseUrl}/v1`, apiKey: 'fb_live_wrong', maxRetries: 0 });
        await expect(client.models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
        const body = { model: 'no-such-model', messages: [{ role: 'user' as const, content: 'Hi' }] };
        await expect(openai().chat.completions.create(body)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
      });
    });

    describe('a consumer pays for itself', () => {
      test('a header opens its account with starter credit, and the project pays nothing', async () => {
        const before = await client.balance(key);
        const answer = await asConsumer(CONSUMER);
        expect([answer.status, answer.body.farebox.credits_used]).toEqual([200, '0.001']);
        expect(await client.balance(key)).toEqual(before);
        const [consumer] = (await client.call('/v1/consumers', { key })).body.data;
        expect(consumer).toMatchObject({ email: CONSUMER, balance: '0.099', held: '0' });
      });

      test('the starter credit is a hundred runs; then 402, with a checkout page that opens', async () => {
        const batch = () => Promise.all(Array.from({ length: AT_ONCE }, () => asConsumer(CONSUMER)));
        const answers = [...(await batch()), ...(await batch()), ...(await batch())];
        expect(answers.filter(({ status }) => status === 200)).toHaveLength(STARTER_RUNS - 1);
        const refused = answers.filter(({ status }) => status !== 200);
        expect(new Set(refused.map(({ status }) => status))).toEqual(new Set([402]));
        const [{ body, headers } = { body: null, headers: {} }] = refused;
        expect(body.error).toMatchObject({ type: 'billing_error', code: 'insufficient_credits' });
        expect(headers['retry-after']).toBeUndefined();
        const page = await fetch(body.error.checkout_url);
        expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
        expect(await page.text()).toContain(idOf(body.error.checkout_url));
      });

      test('an operator grants credit and the next call passes', async () => {
        const [consumer] = (await client.call('/v1/consumers', { key })).body.data;
        const granted = await client.grant({ consumer_id: consumer.id }, '0.002');
        expect([granted.status, granted.body.balance]).toEqual([201, '0.002']);
        expect((await asConsumer(CONSUMER)).status).toBe(200);
        const detail = await client.call(`/v1/consumers/${consumer.id}`, { key });
        expect(detail.body).toMatchObject({
          balance: '0.001',
          billing: { granted: '0.102', charged: '0.101', requests: STARTER_RUNS + 1 },
        });
      });
    });

    test('usage adds up: days to totals in every time zone, groups to totals, totals to what was charged', async () => {
      const reports = await Promise.all(
        TIME_ZONES.map(async (timezone) => (await client.call(`/v1/usage?timezone=${timezone}`, { key })).body as Usage),
      );
      const [first] = reports;
      for (const { totals, days } of reports) {
        expect(totals).toEqual(first?.totals);
        expect(sumOf(days)).toEqual(totals);
      }
      for (const groupBy of ['model', 'consumer']) {
        const { totals, groups } = (await client.call(`/v1/usage?group_by=${groupBy}`, { key })).body;
        expect(sumOf(groups)).toEqual(totals);
      }
      const books = await deployment.openBooks();
      try {
        const { project_id } = (await client.call('/v1/balance', { key })).body;
        expect(nanos(String(first?.totals['charged']))).toBe(await books.chargedNanos(project_id));
      } finally {
        await books.close();
      }
    });

    test('a charge is explained: the calculation arrives at it, and each step is an event of the store', async () => {
      const { body: completion } = await client.chat(key, { max_tokens: 50 });
      const { status, body } = await client.call(`/v1/requests/${completion.farebox.request_id}/explain`, { key });
      expect(status).toBe(200);
      expect(body.adds_up).toBe(true);
      expect(body.charge.charged).toBe(completion.farebox.credits_used);
      expect(body.usage.total_tokens).toBe(completion.usage.total_tokens);
      expect(nanos(body.charge.charged) + nanos(body.charge.refunded)).toBe(nanos(body.hold.amount));
      expect(body.steps.map((step: { event_type: string }) => step.event_type)).toEqual([
        'CreditReserved',
        'UsageRecorded',
        'CreditRefunded',
        'ReservationSettled',
      ]);
      const books = await deployment.openBooks();
      try {
        expect(await books.holdsEvents(body.steps.map((step: { event_id: string }) => step.event_id))).toBe(true);
      } finally {
        await books.close();
      }
    });

    describe('retries', () => {
      const keyed = (idempotencyKey: string, body: Record<string, unknown> = {}) =>
        client.chat(key, { max_tokens: 20, ...body }, [['Idempotency-Key', idempotencyKey]]);
      const spent = async (work: () => Promise<void>) => {
        const before = nanos((await client.balance(key)).available);
        await work();
        await waitFor(async () => (await client.balance(key)).held === '0', { describe: 'holds to end' });
        return before - nanos((await client.balance(key)).available);
      };

      test('the same request is answered again with the same body and charged once', async () => {
        let charged = 0n;
        const cost = await spent(async () => {
          const [first, second] = [await keyed('journey-plain'), await keyed('journey-plain')];
          expect([first.status, second.status]).toEqual([200, 200]);
          expect(second.body).toEqual({ ...first.body, idempotent_replay: true });
          charged = nanos(first.body.farebox.credits_used);
        });
        expect([charged > 0n, cost]).toEqual([true, charged]);
      });

      test('so is a stream', async () => {
        const body = { stream: true, stream_options: { include_usage: true } };
        const cost = await spent(async () => {
          const [first, second] = [await keyed('journey-stream', body), await keyed('journey-stream', body)];
          expect([textOf(second.text), usageOf(second.text)]).toEqual([textOf(first.text), usageOf(first.text)]);
          expect(second.text.endsWith('data: [DONE]\n\n')).toBe(true);
          expect(second.text).toContain('"idempotent_replay":true');
        });
        const once = await spent(async () => void (await keyed('journey-stream-2', body)));
        expect(cost).toBe(once);
      });

      test('another body under the same key is refused with 422', async () => {
        const answer = await keyed('journey-plain', { temperature: 0.5 });
        expect([answer.status, answer.body.error.code]).toEqual([422, 'idempotency_key_reused']);
      });

      test('ten at once under one key: one is charged, the others wait or replay', async () => {
        let charged = 0n;
        const cost = await spent(async () => {
          const answers = await Promise.all(Array.from({ length: 10 }, () => keyed('journey-burst')));
          const statuses = new Set(answers.map(({ status }) => status));
          expect([...statuses].filter((status) => status !== 200 && status !== 409)).toEqual([]);
          const [first, ...others] = answers.filter(({ status }) => status === 200);
          for (const other of others) expect(other.body.id).toBe(first?.body.id);
          charged = nanos(first?.body.farebox.credits_used ?? '0');
        });
        expect([charged > 0n, cost]).toEqual([true, charged]);
      });
    });

    describe('a restart', () => {
      let before: { balance: unknown; consumers: unknown; usage: Usage };
      const look = async () => ({
        balance: await client.balance(key),
        consumers: (await client.call('/v1/consumers', { key })).body,
        usage: (await client.call('/v1/usage', { key })).body as Usage,
      });
      beforeAll(async () => {
        before = await look();
        client.close();
        expect(await deployment.stop()).toEqual({ exitCode: 0 });
      }, 120_000);

      test('between two starts, farebox verify finds no difference, also after farebox rebuild', async () => {
        const verified = async () => {
          const { exitCode, output } = await deployment.command('verify');
          expect([exitCode, /(\d+) differences/.exec(output)?.[1]]).toEqual([0, '0']);
        };
        await verified();
        const { exitCode, output } = await deployment.command('rebuild');
        expect([exitCode, output]).toEqual([0, expect.stringMatching(/rebuilt all views from [1-9]\d* events/)]);
        await verified();
      });

      test('keys work and every balance is what it was', async () => {
        await deployment.start();
        connect();
        expect(deployment.welcome.demoKey).toBe(key);
        const after = await look();
        expect([after.balance, after.consumers, after.usage.totals]).toEqual([before.balance, before.consumers, before.usage.totals]);
        expect((await client.chat(key)).status).toBe(200);
      });

      test('an answer from before is replayed', async () => {
        const replayed = await client.chat(key, { max_tokens: 20 }, [['Idempotency-Key', 'journey-plain']]);
        expect([replayed.status, replayed.body.idempotent_replay]).toEqual([200, true]);
      });
    });
  });
}

function idOf(checkoutUrl: string): string {
  return new URL(checkoutUrl).searchParams.get('consumer') ?? 'no consumer in the link';
}
