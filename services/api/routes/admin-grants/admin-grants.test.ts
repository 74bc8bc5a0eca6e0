import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { accountIdOf } from '../../../../events/contract/index.js';
import { ADMIN_KEY, type BooksApi, startBooksApi } from '../../testing/books-api.js';

let api: BooksApi;
beforeAll(async () => {
  api = await startBooksApi();
});
afterAll(() => api.close());

const grant = (json: unknown, headers: Record<string, string> = {}, key = ADMIN_KEY) =>
  api.call('/v1/admin/grants', { key, json, headers });

describe('POST /v1/admin/grants', () => {
  test('201: a top-up of a project is spendable at once', async () => {
    const { projectId, key } = await api.signUp('Grants');
    const answer = await grant({ project_id: projectId, amount: '12.50', reason: 'Invoice 17', kind: 'top_up' });
    expect(answer.status).toBe(201);
    expect(answer.body).toMatchObject({
      object: 'grant',
      kind: 'top_up',
      project_id: projectId,
      consumer_id: null,
      amount: '12.5',
      unit: 'USD',
      reason: 'Invoice 17',
      balance: '13.5',
    });
    expect(answer.body.event_id).toMatch(/^[0-9a-f-]{36}$/);
    expect((await api.call('/v1/balance', { key })).body.available).toBe('13.5');
  });

  test('201: a consumer that was never billed gets its starter credit and the grant', async () => {
    const { projectId } = await api.signUp('Shop');
    const nowMs = api.clock.nowMs();
    const consumerId = api.ids.next('con');
    await api.directory.findOrCreateConsumer({ projectId, consumerId, email: 'jane@example.com', name: null, nowMs });
    const answer = await grant({ consumer_id: consumerId, amount: '5', reason: 'Goodwill' });
    expect(answer.body).toMatchObject({ kind: 'adjustment', project_id: projectId, consumer_id: consumerId, balance: '5.1' });
  });

  test('201: a negative adjustment takes credit back, down to nothing', async () => {
    const { projectId } = await api.signUp('Negative');
    expect((await grant({ project_id: projectId, amount: '-1', reason: 'Fraud' })).body.balance).toBe('0');
    const more = await grant({ project_id: projectId, amount: '-0.000000001', reason: 'Fraud' });
    expect(more.status).toBe(409);
  });

  test('201: 20 repetitions with one Idempotency-Key, or one grant_id, grant once', async () => {
    const { projectId } = await api.signUp('Repeat');
    const body = { project_id: projectId, amount: '1', reason: 'Once' };
    const byKey = await Promise.all(Array.from({ length: 20 }, () => grant(body, { 'Idempotency-Key': 'invoice-17' })));
    expect(new Set(byKey.map((answer) => `${answer.status} ${answer.body.event_id}`)).size).toBe(1);
    const grantId = api.ids.next('grt');
    const byId = await Promise.all(Array.from({ length: 20 }, () => grant({ ...body, grant_id: grantId })));
    expect(new Set(byId.map((answer) => answer.body.event_id)).size).toBe(1);
    expect(await api.ledger.balance(accountIdOf(projectId))).toMatchObject({ availableNanos: 3_000_000_000n });
  });

  test('409: one id for two different grants', async () => {
    const { projectId } = await api.signUp('Reuse');
    const grantId = api.ids.next('grt');
    await grant({ project_id: projectId, amount: '1', reason: 'A', grant_id: grantId });
    const answer = await grant({ project_id: projectId, amount: '2', reason: 'A', grant_id: grantId });
    expect([answer.status, answer.body.error.code]).toEqual([409, 'conflict']);
  });

  test.each([
    ['neither project nor consumer', {}],
    ['both', { project_id: 'prj_x', consumer_id: 'con_x' }],
    ['a number as amount', { project_id: 'prj_x', amount: 5 }],
    ['ten decimals', { project_id: 'prj_x', amount: '0.0000000001' }],
    ['an exponent', { project_id: 'prj_x', amount: '1e3' }],
    ['zero', { project_id: 'prj_x', amount: '0' }],
    ['a negative top-up', { project_id: 'prj_x', amount: '-1', kind: 'top_up' }],
    ['no reason', { project_id: 'prj_x', reason: '' }],
    ['a starter grant', { project_id: 'prj_x', kind: 'starter' }],
    ['a grant id that is none', { project_id: 'prj_x', grant_id: 'starter-acc_x' }],
  ])('400: %s', async (_what, fields) => {
    const answer = await grant({ amount: '1', reason: 'R', ...fields });
    expect(answer.status).toBe(400);
  });

  test('400: more than one grant may be', async () => {
    const { projectId } = await api.signUp('Huge');
    expect((await grant({ project_id: projectId, amount: '999999999999', reason: 'R' })).status).toBe(400);
  });

  test('404: a project or consumer that does not exist', async () => {
    for (const target of [{ project_id: api.ids.next('prj') }, { consumer_id: api.ids.next('con') }, { project_id: 'x' }]) {
      expect((await grant({ ...target, amount: '1', reason: 'R' })).status).toBe(404);
    }
  });

  test("401 and 403: without a key, and with a project's", async () => {
    const { projectId, key } = await api.signUp('Thief');
    const body = { project_id: projectId, amount: '1000', reason: 'Mine' };
    expect((await api.call('/v1/admin/grants', { json: body })).status).toBe(401);
    expect((await grant(body, {}, key)).status).toBe(403);
    expect((await api.call('/v1/balance', { key })).body.available).toBe('1');
  });
});
