import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { accountIdOf } from '../../../../events/contract/index.js';
import { LedgerUnavailableError } from '../../../ledger/ledger-client.js';
import { ADMIN_KEY, type BooksApi, startBooksApi } from '../../testing/books-api.js';
import { slugOf } from './slug.js';

let farebox: BooksApi;
let huru: BooksApi;
beforeAll(async () => {
  [farebox, huru] = await Promise.all([startBooksApi(), startBooksApi({ preset: 'huru' })]);
});
afterAll(async () => {
  await Promise.all([farebox.close(), huru.close()]);
});

describe('POST /v1/projects', () => {
  test('201: gives id, slug, key and starter credit; the environment is test unless asked otherwise (U11)', async () => {
    const answer = await huru.call('/v1/projects', { json: { name: 'Støtte Bot (EU)' } });
    expect(answer.status).toBe(201);
    expect(answer.body).toMatchObject({
      object: 'project',
      name: 'Støtte Bot (EU)',
      slug: 'st-tte-bot-eu',
      environment: 'test',
      created_at: '2026-04-27T15:30:00.000Z',
      unit: 'credit',
      starter_credit: '100',
      balance: '100',
      credits_balance: 100,
    });
    expect(answer.body.id).toMatch(/^prj_[0-9a-z]{26}$/);
    expect(answer.body.api_key).toMatch(/^sk_test_[0-9A-Za-z]{43}$/);
    expect(answer.body.key).toMatchObject({ object: 'api_key', environment: 'test', status: 'active' });
    expect(JSON.stringify(answer.body.key)).not.toContain(answer.body.api_key);
  });

  test('201: a live project in dollars; its key works at once and the books hold the starter credit', async () => {
    const answer = await farebox.call('/v1/projects', { json: { name: 'Live', slug: 'my-live-project', environment: 'live' } });
    expect(answer.status).toBe(201);
    expect(answer.body).toMatchObject({ slug: 'my-live-project', environment: 'live', unit: 'USD', starter_credit: '1', balance: '1' });
    expect(answer.body).not.toHaveProperty('credits_balance');
    expect(answer.body.api_key).toMatch(/^fb_live_/);
    const balance = await farebox.call('/v1/balance', { key: answer.body.api_key });
    expect(balance.body).toMatchObject({ available: '1', held: '0', project_id: answer.body.id });
    expect(await farebox.ledger.balance(accountIdOf(answer.body.id))).toMatchObject({ availableNanos: 1_000_000_000n });
  });

  test('201: two projects of one name get slugs of their own', async () => {
    const [first, second] = await Promise.all([1, 2].map(() => farebox.call('/v1/projects', { json: { name: 'Twin' } })));
    const slugs = [first?.body.slug, second?.body.slug].sort();
    expect(slugs[0]).toBe('twin');
    expect(slugs[1]).toMatch(/^twin-[0-9a-z]{6}$/);
  });

  test('409: an explicit slug that is taken', async () => {
    await farebox.call('/v1/projects', { json: { name: 'One', slug: 'taken' } });
    const answer = await farebox.call('/v1/projects', { json: { name: 'Other', slug: 'taken' } });
    expect(answer.status).toBe(409);
    expect(answer.body.error).toMatchObject({ code: 'conflict', param: 'slug' });
  });

  test.each([
    ['no name', {}],
    ['an empty name', { name: '  ' }],
    ['a name of 101 characters', { name: 'x'.repeat(101) }],
    ['a name with a line break', { name: 'a\nb' }],
    ['a name with a NUL', { name: 'a\u0000b' }],
    ['a slug with a blank', { name: 'P', slug: 'a b' }],
    ['a slug that begins with a hyphen', { name: 'P', slug: '-a' }],
    ['an unknown environment', { name: 'P', environment: 'staging' }],
    ['an unknown field', { name: 'P', credit: '1000' }],
    ['an array', []],
  ])('400: %s', async (_what, json) => {
    const answer = await farebox.call('/v1/projects', { json });
    expect(answer.status).toBe(400);
    expect(answer.body.error.type).toBe('invalid_request_error');
  });

  test('503: without the ledger nobody signs up', async () => {
    const ledger = {
      ...farebox.ledger,
      openAccount: () => Promise.reject(new LedgerUnavailableError('the store does not answer')),
    };
    const api = await startBooksApi({ ledger });
    const answer = await api.call('/v1/projects', { json: { name: 'P' } });
    expect(answer.status).toBe(503);
    expect(answer.body.error.code).toBe('ledger_unavailable');
    await api.close();
  });
});

describe('an offer whose sign-up is not open', () => {
  test('401, 403 and 201: only the admin key creates projects', async () => {
    const policies = { ...farebox.preset.policies, sign_up: 'admin' } as const;
    const api = await startBooksApi({ preset: { ...farebox.preset, policies } });
    const created = await api.call('/v1/projects', { json: { name: 'P' }, key: ADMIN_KEY });
    expect(created.status).toBe(201);
    expect((await api.call('/v1/projects', { json: { name: 'P' } })).status).toBe(401);
    expect((await api.call('/v1/projects', { json: { name: 'P' }, key: created.body.api_key })).status).toBe(403);
    await api.close();
  });
});

describe('slugs', () => {
  test.each([
    ['Support Bot', 'support-bot'],
    ['  Crème brûlée!  ', 'creme-brulee'],
    ['日本語', 'project'],
    ['---', 'project'],
    ['x'.repeat(100), 'x'.repeat(41)],
  ])('%j is %j', (name, slug) => {
    expect(slugOf(name)).toBe(slug);
  });
});
