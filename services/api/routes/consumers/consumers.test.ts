import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { accountIdOf } from '../../../../events/contract/index.js';
import { type BooksApi, startBooksApi } from '../../testing/books-api.js';
import { seedAccount } from '../../testing/read-model-rows.js';

let api: BooksApi;
beforeAll(async () => {
  api = await startBooksApi({ preset: 'huru' });
});
afterAll(() => api.close());

async function aConsumer(projectId: string, email: string, name: string | null = null): Promise<string> {
  api.clock.timeMs += 1;
  const nowMs = api.clock.nowMs();
  const consumer = await api.directory.findOrCreateConsumer({ projectId, consumerId: api.ids.next('con'), email, name, nowMs });
  return consumer.consumerId;
}

describe('GET /v1/consumers', () => {
  test('200: the documented shape (U7), balances from the books', async () => {
    const { projectId, key } = await api.signUp('Shop');
    const jane = await aConsumer(projectId, 'jane@example.com', 'Jane Doe');
    const accountId = accountIdOf(jane);
    await seedAccount(api.database.pool, {
      accountId,
      projectId,
      consumerId: jane,
      unit: 'credit',
      availableNanos: 42_000_000_000n,
      heldNanos: 1_000_000_000n,
    });
    const answer = await api.call('/v1/consumers', { key });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({
      object: 'list',
      data: [
        {
          id: jane,
          object: 'consumer',
          email: 'jane@example.com',
          name: 'Jane Doe',
          credits_balance: 42,
          balance: '42',
          held: '1',
          unit: 'credit',
          created_at: expect.stringMatching(/^2026-04-27T15:30:00/),
        },
      ],
      has_more: false,
      next_after: null,
    });
    expect(answer.headers.get('x-read-model-lag')).toBeNull();
  });

  test('200: pages of two through five consumers, newest first', async () => {
    const { projectId, key } = await api.signUp('Pages');
    const made: string[] = [];
    for (let index = 0; index < 5; index += 1) made.unshift(await aConsumer(projectId, `c${index}@example.com`));
    const seen: string[] = [];
    let next: string | null = '';
    while (next !== null) {
      const page = await api.call(`/v1/consumers?limit=2${next === '' ? '' : `&after=${next}`}`, { key });
      seen.push(...page.body.data.map((each: { id: string }) => each.id));
      expect(page.body.has_more).toBe(page.body.next_after !== null);
      next = page.body.next_after;
    }
    expect(seen).toEqual(made);
  });

  test.each(['limit=0', 'limit=101', 'limit=x', 'limit=1&limit=2', 'after=con_x', 'after=prj_01jz8v6c3e4q8r2t5w7y9a0b1c'])(
    '400: %s',
    async (query) => {
      const { key } = await api.signUp('Bad');
      expect((await api.call(`/v1/consumers?${query}`, { key })).status).toBe(400);
    },
  );

  test('401: without a key', async () => {
    expect((await api.call('/v1/consumers')).status).toBe(401);
  });
});

describe('GET /v1/consumers/:id', () => {
  test('200: a consumer that has not been billed yet can spend its starter credit', async () => {
    const { projectId, key } = await api.signUp('New');
    const consumer = await aConsumer(projectId, 'new@example.com');
    const answer = await api.call(`/v1/consumers/${consumer}`, { key });
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ credits_balance: 10, balance: '10', held: '0', name: null });
    expect(answer.body.billing).toEqual({ granted: '0', charged: '0', requests: 0, last_request_at: null });
  });

  test('200: an empty balance is zero, not the starter credit', async () => {
    const { projectId, key } = await api.signUp('Empty');
    const consumer = await aConsumer(projectId, 'spent@example.com');
    await seedAccount(api.database.pool, { accountId: accountIdOf(consumer), projectId, consumerId: consumer, availableNanos: 0n });
    expect((await api.call(`/v1/consumers/${consumer}`, { key })).body).toMatchObject({ credits_balance: 0, balance: '0' });
  });

  test('404, in the same words: unknown, malformed and foreign ids', async () => {
    const [own, other] = [await api.signUp('Own'), await api.signUp('Other')];
    const foreign = await aConsumer(other.projectId, 'jane@example.com');
    const answers = await Promise.all(
      [foreign, api.ids.next('con'), 'con_x', own.projectId].map((id) => api.call(`/v1/consumers/${id}`, { key: own.key })),
    );
    expect(answers.map((answer) => answer.status)).toEqual([404, 404, 404, 404]);
    expect(new Set(answers.map((answer) => answer.text)).size).toBe(1);
  });
});
