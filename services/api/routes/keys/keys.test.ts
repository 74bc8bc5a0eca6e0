import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type BooksApi, startBooksApi } from '../../testing/books-api.js';

let api: BooksApi;
beforeAll(async () => {
  api = await startBooksApi();
});
afterAll(() => api.close());

describe('POST /v1/keys', () => {
  test('201: shows the secret once; the list never does', async () => {
    const { key } = await api.signUp('Keys');
    // Ids of one millisecond are in no order.
    api.clock.timeMs += 1;
    const created = await api.call('/v1/keys', { key, json: { name: 'CI' } });
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({
      object: 'api_key',
      name: 'CI',
      environment: 'live',
      status: 'active',
      created_at: '2026-04-27T15:30:00.001Z',
      last_used_at: null,
      expires_at: '2026-07-26T15:30:00.001Z',
      revoked_at: null,
    });
    expect((await api.call('/v1/balance', { key: created.body.key })).status).toBe(200);
    const list = await api.call('/v1/keys', { key });
    expect(list.status).toBe(200);
    expect(list.body.data.map((each: { name: string }) => each.name)).toEqual(['CI', 'First key']);
    expect(list.text).not.toContain(created.body.key);
    expect(list.text).not.toContain(key);
  });

  test('201: the keys of a test project are test keys', async () => {
    const { key } = await api.signUp('Sandbox', 'test');
    expect((await api.call('/v1/keys', { key, json: {} })).body.key).toMatch(/^fb_test_/);
    expect((await api.call('/v1/keys', { key, json: { environment: 'test' } })).status).toBe(201);
  });

  test('409: the sixth active key (H4); revoking one makes room', async () => {
    const { key } = await api.signUp('Five');
    const more = await Promise.all(Array.from({ length: 10 }, () => api.call('/v1/keys', { key, json: {} })));
    const statuses = more.map((answer) => answer.status).sort();
    expect(statuses).toEqual([201, 201, 201, 201, 409, 409, 409, 409, 409, 409]);
    expect(more.find((answer) => answer.status === 409)?.body.error.code).toBe('active_key_limit_reached');
    const spare = more.find((answer) => answer.status === 201)?.body.id;
    await api.call(`/v1/keys/${spare}`, { key, method: 'DELETE' });
    expect((await api.call('/v1/keys', { key, json: {} })).status).toBe(201);
  });

  test.each([
    ['another environment than the project', { environment: 'test' }],
    ['an empty name', { name: '' }],
    ['a name that is no text', { name: 7 }],
    ['an unknown field', { active_max: 100 }],
  ])('400: %s', async (_what, json) => {
    const { key } = await api.signUp('Bad');
    expect((await api.call('/v1/keys', { key, json })).status).toBe(400);
  });

  test('401: without a key, or with one that nobody was given', async () => {
    expect((await api.call('/v1/keys', { json: {} })).status).toBe(401);
    expect((await api.call('/v1/keys', { key: 'fb_live_nobody', json: {} })).status).toBe(401);
    expect((await api.call('/v1/keys')).status).toBe(401);
  });
});

describe('revoking', () => {
  test('200: by DELETE and by POST; the key stops working and stays in the list', async () => {
    const { key } = await api.signUp('Revoke');
    const made = await Promise.all([1, 2].map(() => api.call('/v1/keys', { key, json: {} })));
    const [first, second] = made.map((answer) => answer.body);
    for (const each of [first, second]) expect((await api.call('/v1/balance', { key: each.key })).status).toBe(200);
    const deleted = await api.call(`/v1/keys/${first.id}`, { key, method: 'DELETE' });
    expect(deleted.status).toBe(200);
    expect(deleted.body).toMatchObject({ id: first.id, status: 'revoked', revoked_at: '2026-04-27T15:30:00.001Z', expires_at: null });
    expect((await api.call(`/v1/keys/${second.id}/revoke`, { key, method: 'POST' })).status).toBe(200);
    for (const each of [first, second]) {
      const refused = await api.call('/v1/balance', { key: each.key });
      expect([refused.status, refused.body.error.code]).toEqual([403, 'api_key_revoked']);
    }
    const list = await api.call('/v1/keys', { key });
    expect(list.body.data.filter((each: { status: string }) => each.status === 'revoked')).toHaveLength(2);
  });

  test('404, in the same words: unknown ids, ids that are none, and the keys of others', async () => {
    const [own, other] = [await api.signUp('Own'), await api.signUp('Other')];
    const foreign = (await api.call('/v1/keys', { key: other.key })).body.data[0].id;
    const answers = await Promise.all(
      [foreign, api.ids.next('key'), 'key_x', '%00', "'; drop table api.keys; --"].map((id) =>
        api.call(`/v1/keys/${id}`, { key: own.key, method: 'DELETE' }),
      ),
    );
    expect(answers.map((answer) => answer.status)).toEqual([404, 404, 404, 404, 404]);
    expect(new Set(answers.map((answer) => answer.text)).size).toBe(1);
    expect((await api.call('/v1/balance', { key: other.key })).status).toBe(200);
  });
});

describe('rotating', () => {
  const firstKeyOf = async (key: string) => (await api.call('/v1/keys', { key })).body.data[0].id;

  test('201: a new secret at once, of the name and role of the old one, which is over', async () => {
    const { key } = await api.signUp('Rotate');
    const made = await api.call('/v1/keys', { key, json: { name: 'Deploys', role: 'developer' } });
    const rotated = await api.call(`/v1/keys/${made.body.id}/rotate`, { key, method: 'POST' });
    expect([rotated.status, rotated.body]).toMatchObject([
      201,
      { name: 'Deploys', role: 'developer', status: 'active', replaced: { id: made.body.id, status: 'revoked', expires_at: null } },
    ]);
    expect((await api.call('/v1/balance', { key: rotated.body.key })).status).toBe(200);
    expect((await api.call('/v1/balance', { key: made.body.key })).body.error.code).toBe('api_key_revoked');
  });

  test('201: with a grace both work until it is over', async () => {
    const { key } = await api.signUp('Grace');
    const rotated = await api.call(`/v1/keys/${await firstKeyOf(key)}/rotate`, { key, json: { grace_seconds: 60 } });
    const endsAt = new Date(api.clock.timeMs + 60_000).toISOString();
    expect(rotated.body).toMatchObject({ status: 'active', role: 'owner', replaced: { status: 'active', expires_at: endsAt } });
    const statuses = async () => [
      (await api.call('/v1/balance', { key })).status,
      (await api.call('/v1/balance', { key: rotated.body.key })).status,
    ];
    api.clock.timeMs += 59_999;
    expect(await statuses()).toEqual([200, 200]);
    api.clock.timeMs += 1;
    expect(await statuses()).toEqual([403, 200]);
  });

  test('409: a key that was rotated, or revoked; the successor is the one to rotate', async () => {
    const { key } = await api.signUp('Twice');
    const id = await firstKeyOf(key);
    const first = await api.call(`/v1/keys/${id}/rotate`, { key, json: { grace_seconds: 60 } });
    expect((await api.call(`/v1/keys/${id}/rotate`, { key, json: { grace_seconds: 60 } })).status).toBe(409);
    const second = await api.call(`/v1/keys/${first.body.id}/rotate`, { key, json: {} });
    expect(second.status).toBe(201);
    expect((await api.call(`/v1/keys/${first.body.id}/rotate`, { key, json: {} })).status).toBe(409);
  });

  test('a project with all its keys can rotate each, twice: 409 beyond as many retiring keys as it may have active ones', async () => {
    const { key } = await api.signUp('Full');
    for (let made = 1; made < 5; made += 1) await api.call('/v1/keys', { key, json: {} });
    const rotated: { status: number; id: string }[] = [];
    for (const { id } of (await api.call('/v1/keys', { key })).body.data) {
      const { status, body } = await api.call(`/v1/keys/${id}/rotate`, { key, json: { grace_seconds: 3_600 } });
      rotated.push({ status, id: body.id });
    }
    const [successor] = rotated;
    expect(rotated.map(({ status }) => status)).toEqual([201, 201, 201, 201, 201]);
    const sixth = await api.call(`/v1/keys/${successor?.id}/rotate`, { key, json: { grace_seconds: 3_600 } });
    expect([sixth.status, sixth.body.error.code]).toEqual([409, 'active_key_limit_reached']);
    expect((await api.call(`/v1/keys/${successor?.id}/rotate`, { key, json: { grace_seconds: 0 } })).status).toBe(201);
  });

  test('one of many at the same time wins', async () => {
    const { key } = await api.signUp('Race');
    const id = await firstKeyOf(key);
    const rotate = () => api.call(`/v1/keys/${id}/rotate`, { key, json: { grace_seconds: 60 } });
    const statuses = (await Promise.all(Array.from({ length: 8 }, rotate))).map(({ status }) => status);
    expect(statuses.sort()).toEqual([201, ...Array.from({ length: 7 }, () => 409)]);
  });

  test.each([{ grace_seconds: -1 }, { grace_seconds: 604_801 }, { grace_seconds: 0.5 }, { grace: 1 }])('400: %j', async (json) => {
    const { key } = await api.signUp('Bad grace');
    expect((await api.call(`/v1/keys/${await firstKeyOf(key)}/rotate`, { key, json })).status).toBe(400);
  });

  test("404: another project's key, which goes on working", async () => {
    const [own, other] = [await api.signUp('Own'), await api.signUp('Other')];
    expect((await api.call(`/v1/keys/${await firstKeyOf(other.key)}/rotate`, { key: own.key, json: {} })).status).toBe(404);
    expect((await api.call('/v1/balance', { key: other.key })).status).toBe(200);
  });
});
