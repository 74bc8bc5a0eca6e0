import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { accountIdOf } from '../../../../events/contract/index.js';
import { LedgerUnavailableError } from '../../../ledger/ledger-client.js';
import { projectOpening } from '../../directory/account-openings.js';
import { type BooksApi, startBooksApi } from '../../testing/books-api.js';

let api: BooksApi;
beforeAll(async () => {
  api = await startBooksApi({ preset: 'huru' });
});
afterAll(() => api.close());

describe('GET /v1/balance', () => {
  test('200: what is available and what is held, from the ledger itself', async () => {
    const { projectId, key } = await api.signUp('Balance');
    await api.ledger.reserve({
      accountId: accountIdOf(projectId),
      runId: api.ids.next('run'),
      opening: projectOpening({ projectId, environment: 'live' }, api.preset),
      keyId: 'key_x',
      model: 'huru/chat-1',
      priceVersion: 'v',
      terms: { kind: 'per_started_thousand', pricePerStartedThousandNanos: 1_000_000_000n },
      promptTokensMax: 1_500,
      outputTokensMax: 1_000,
      outputTokensExplicit: true,
      cancelPolicy: 'refund_all',
      deadlineMs: api.clock.nowMs() + 60_000,
    });
    const answer = await api.call('/v1/balance', { key });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({
      object: 'balance',
      project_id: projectId,
      environment: 'live',
      unit: 'credit',
      available: '97',
      held: '3',
      credits_balance: 97,
    });
  });

  test('401: without a key', async () => {
    expect((await api.call('/v1/balance')).status).toBe(401);
  });

  test('503: when the ledger does not answer', async () => {
    const ledger = { ...api.ledger, balance: () => Promise.reject(new LedgerUnavailableError('down')) };
    const broken = await startBooksApi({ preset: 'huru', ledger });
    const { key } = await broken.signUp('P');
    expect((await broken.call('/v1/balance', { key })).status).toBe(503);
    await broken.close();
  });
});
