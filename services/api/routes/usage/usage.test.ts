import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { accountIdOf } from '../../../../events/contract/index.js';
import { type BooksApi, startBooksApi } from '../../testing/books-api.js';
import { seedAccount, seedQuarter } from '../../testing/read-model-rows.js';
import { reportBoundary } from './report-boundary.js';

let api: BooksApi;
beforeAll(async () => {
  api = await startBooksApi();
});
afterAll(() => api.close());

/** A project whose sign-up the views have caught up with. */
async function projectInView(name: string) {
  const project = await api.signUp(name);
  await seedAccount(api.database.pool, {
    accountId: accountIdOf(project.projectId),
    projectId: project.projectId,
    availableNanos: 1_000_000_000n,
    revision: 1,
  });
  return project;
}

describe('GET /v1/usage', () => {
  test('200: the documented query (U8): 27 days that add up to the totals', async () => {
    const { projectId, key } = await projectInView('Usage');
    await seedQuarter(api.database.pool, { projectId, start: '2026-04-01T00:00:00Z', chargedNanos: 1_500_000_000n, tokens: [100, 20, 50] });
    await seedQuarter(api.database.pool, { projectId, start: '2026-04-27T23:45:00Z', chargedNanos: 1n, failed: 2 });
    await seedQuarter(api.database.pool, { projectId, start: '2026-04-28T00:00:00Z', chargedNanos: 7n });
    const { status, body } = await api.call('/v1/usage?from=2026-04-01&to=2026-04-27', { key });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      object: 'usage',
      from: '2026-04-01T00:00:00.000Z',
      to: '2026-04-28T00:00:00.000Z',
      timezone: 'UTC',
      unit: 'USD',
    });
    expect(body.totals).toEqual({
      requests: 4,
      completed: 2,
      cancelled: 0,
      failed: 2,
      expired: 0,
      prompt_tokens: 110,
      cached_tokens: 20,
      completion_tokens: 55,
      total_tokens: 165,
      charged: '1.500000001',
    });
    expect(body.days).toHaveLength(27);
    expect(body.days[0]).toMatchObject({ date: '2026-04-01', charged: '1.5', total_tokens: 150 });
    expect(body.days[1]).toMatchObject({ date: '2026-04-02', requests: 0, charged: '0' });
    expect(body.days[26]).toMatchObject({ date: '2026-04-27', charged: '0.000000001', failed: 2 });
    expect(body).not.toHaveProperty('groups');
  });

  test('200: days of another zone, and groups', async () => {
    const { projectId, key } = await projectInView('Zone');
    const consumerId = api.ids.next('con');
    await seedQuarter(api.database.pool, { projectId, start: '2026-04-09T22:00:00Z', chargedNanos: 1n });
    await seedQuarter(api.database.pool, { projectId, start: '2026-04-09T22:00:00Z', consumerId, chargedNanos: 2n });
    const query = 'from=2026-04-09&to=2026-04-10&timezone=Europe/Paris&group_by=consumer';
    const { body } = await api.call(`/v1/usage?${query}`, { key });
    expect(body.days.map((day: { date: string; charged: string }) => [day.date, day.charged])).toEqual([
      ['2026-04-09', '0'],
      ['2026-04-10', '0.000000003'],
    ]);
    expect(body.groups.map((group: { consumer_id: string | null; charged: string }) => [group.consumer_id, group.charged])).toEqual([
      [consumerId, '0.000000002'],
      [null, '0.000000001'],
    ]);
    expect(body.groups_truncated).toBe(false);
  });

  test('200: 30 days by default, zeros included; another project sees nothing of it', async () => {
    const { key } = await projectInView('Quiet');
    const { status, body } = await api.call('/v1/usage', { key });
    expect(status).toBe(200);
    expect(body.days).toHaveLength(30);
    expect(body.totals).toMatchObject({ requests: 0, charged: '0' });
  });

  test('200: when the views lag, what there is, and a header that says so', async () => {
    const { key } = await api.signUp('Lag');
    const { status, headers } = await api.call('/v1/usage', { key });
    expect(status).toBe(200);
    expect(headers.get('x-read-model-lag')).toBe('stale');
  });

  test('200: credits are numbers too where they are the unit', async () => {
    const huru = await startBooksApi({ preset: 'huru' });
    const { projectId, key } = await huru.signUp('Credits');
    await seedAccount(huru.database.pool, { accountId: accountIdOf(projectId), projectId, availableNanos: 0n, revision: 1 });
    await seedQuarter(huru.database.pool, { projectId, start: '2026-04-27T00:00:00Z', unit: 'credit', chargedNanos: 3_000_000_000n });
    expect((await huru.call('/v1/usage', { key })).body.totals).toMatchObject({ charged: '3', credits_used: 3 });
    await huru.close();
  });

  test.each([
    ['from=yesterday', 'from'],
    ['from=2026-02-30', 'from'],
    ['from=2026-04-02&to=2026-04-01', 'from'],
    ['from=2020-01-01&to=2026-01-01', 'from'],
    ['to=2026-04-27T25:00:00Z', 'to'],
    ['timezone=Mars/Olympus', 'timezone'],
    ['timezone=%2B02:00', 'timezone'],
    ['group_by=key', 'group_by'],
  ])('400: %s', async (query, param) => {
    const { key } = await projectInView('Bad');
    const answer = await api.call(`/v1/usage?${query}`, { key });
    expect(answer.status).toBe(400);
    expect(answer.body.error.param).toBe(param);
  });

  test('401: without a key', async () => {
    expect((await api.call('/v1/usage')).status).toBe(401);
  });
});

describe('boundaries', () => {
  test.each([
    ['2026-04-01', 'from', { kind: 'local', text: '2026-04-01T00:00:00' }],
    ['2026-04-27', 'to', { kind: 'local', text: '2026-04-28T00:00:00' }],
    ['2024-02-29', 'to', { kind: 'local', text: '2024-03-01T00:00:00' }],
    ['2026-04-27T12:30', 'from', { kind: 'local', text: '2026-04-27T12:30' }],
    ['2026-04-27T12:30:00Z', 'from', { kind: 'instant', text: '2026-04-27T12:30:00.000Z' }],
    ['2026-04-27T12:30:00+02:00', 'from', { kind: 'instant', text: '2026-04-27T10:30:00.000Z' }],
    ['2026-04-27T12:30:00 02:00', 'from', { kind: 'instant', text: '2026-04-27T10:30:00.000Z' }],
  ] as const)('%s as %s', (text, end, boundary) => {
    expect(reportBoundary(text, end)).toEqual(boundary);
  });

  test.each(['', 'now', '2026-4-1', '2025-02-29', '1969-12-31', '3000-01-01', '2026-04-27T24:30', '2026-04-27T12:30:00+99:00', '20260427'])(
    '%j is none',
    (text) => {
      expect(reportBoundary(text, 'from')).toBeNull();
    },
  );
});
