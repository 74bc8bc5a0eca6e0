import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ADMIN_KEY, type BooksApi, startBooksApi } from '../../testing/books-api.js';

let api: BooksApi;
beforeAll(async () => {
  api = await startBooksApi();
});
afterAll(() => api.close());

const trialBalance = () => api.call('/v1/admin/trial-balance', { key: ADMIN_KEY });

describe('GET /v1/admin/trial-balance', () => {
  test('200: no books are balanced books', async () => {
    expect((await trialBalance()).body).toEqual({ object: 'trial_balance', balanced: true, books: [] });
  });

  test('200: a book for each unit and environment; one that does not sum to zero is shown as such', async () => {
    await api.database.pool.query(
      `insert into read_model.trial_balance values
         ('USD', 'live', 'available', 900000000, 3), ('USD', 'live', 'promotions', -1000000000, 1), ('USD', 'live', 'revenue', 100000000, 1),
         ('USD', 'test', 'available', 5, 1), ('USD', 'test', 'promotions', -4, 1)`,
    );
    const { status, body } = await trialBalance();
    expect(status).toBe(200);
    expect(body.balanced).toBe(false);
    expect(body.books).toEqual([
      {
        unit: 'USD',
        environment: 'live',
        balanced: true,
        sum: '0',
        accounts: [
          { account: 'available', balance: '0.9', postings: 3 },
          { account: 'promotions', balance: '-1', postings: 1 },
          { account: 'revenue', balance: '0.1', postings: 1 },
        ],
      },
      {
        unit: 'USD',
        environment: 'test',
        balanced: false,
        sum: '0.000000001',
        accounts: [
          { account: 'available', balance: '0.000000005', postings: 1 },
          { account: 'promotions', balance: '-0.000000004', postings: 1 },
        ],
      },
    ]);
  });

  test("401 and 403: without a key, and with a project's", async () => {
    const { key } = await api.signUp('Curious');
    expect((await api.call('/v1/admin/trial-balance')).status).toBe(401);
    expect((await api.call('/v1/admin/trial-balance', { key })).status).toBe(403);
  });
});
