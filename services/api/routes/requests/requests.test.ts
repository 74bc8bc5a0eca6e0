import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { accountIdOf, type PriceTerms, withPrefix } from '../../../../events/contract/index.js';
import { type BooksApi, startBooksApi } from '../../testing/books-api.js';
import { type SeededRequest, seedAccount, seedRequest } from '../../testing/read-model-rows.js';

let api: BooksApi;
let own: { projectId: string; key: string };

const terms: PriceTerms = {
  kind: 'per_token',
  inputPerMillionNanos: 100_000_000n,
  cachedInputPerMillionNanos: 50_000_000n,
  outputPerMillionNanos: 200_000_000n,
  rounding: 'up',
};

beforeAll(async () => {
  api = await startBooksApi();
  own = await api.signUp('Own');
  const accountId = accountIdOf(own.projectId);
  await seedAccount(api.database.pool, { accountId, projectId: own.projectId, availableNanos: 1n, revision: 1 });
});
afterAll(() => api.close());

async function aRequest(request: Partial<SeededRequest> = {}): Promise<string> {
  const runId = api.ids.next('run');
  await seedRequest(api.database.pool, {
    runId,
    accountId: accountIdOf(own.projectId),
    projectId: own.projectId,
    status: 'completed',
    terms,
    usage: [30, 10, 7],
    // 100 prompt tokens at 100 nanos and a budget of 100 at 200.
    heldNanos: 30_000n,
    chargedNanos: 3_900n,
    ...request,
  });
  return runId;
}

describe('GET /v1/requests/:id', () => {
  test('200: the record, by request, run or completion id (U9)', async () => {
    const runId = await aRequest();
    const ids = [runId, withPrefix(runId, 'req_'), withPrefix(runId, 'chatcmpl-')];
    const answers = await Promise.all(ids.map((id) => api.call(`/v1/requests/${id}`, { key: own.key })));
    for (const answer of answers) {
      expect(answer.status).toBe(200);
      expect(answer.body).toEqual({
        id: withPrefix(runId, 'req_'),
        object: 'request',
        run_id: runId,
        status: 'completed',
        model: 'model-x',
        billed_to: { kind: 'project', id: own.projectId },
        key_id: 'key_x',
        usage: { counted_by: 'engine', prompt_tokens: 30, cached_tokens: 10, completion_tokens: 7, total_tokens: 37 },
        finish_reason: 'stop',
        attempt: 1,
        errors: [],
        unit: 'USD',
        held: '0.00003',
        charged: '0.0000039',
        refunded: '0.0000261',
        price_version: 'prices-1',
        created_at: '2026-04-27T15:30:00.000Z',
        settled_at: '2026-04-27T15:30:02.000Z',
        deadline_at: '2026-04-27T15:35:00.000Z',
      });
    }
  });

  test('200: a failed run names its error; a consumer that paid is named; credits are numbers', async () => {
    const runId = await aRequest({
      status: 'failed',
      errorCode: 'engine_crashed',
      consumerId: 'con_x',
      unit: 'credit',
      usage: [0, 0, 0],
      chargedNanos: 0n,
    });
    const { body } = await api.call(`/v1/requests/${runId}`, { key: own.key });
    expect(body).toMatchObject({
      status: 'failed',
      errors: [{ code: 'engine_crashed' }],
      billed_to: { kind: 'consumer', id: 'con_x' },
      charged: '0',
      credits_used: 0,
    });
  });

  test('200: a running request has no usage and no charge yet', async () => {
    const runId = await aRequest({ status: 'reserved' });
    const { body } = await api.call(`/v1/requests/${runId}`, { key: own.key });
    expect(body).toMatchObject({ status: 'reserved', usage: null, charged: null, refunded: null, settled_at: null, held: '0.00003' });
  });

  test.each(['', '/explain'])('404, in the same words: unknown, malformed and foreign ids%s', async (suffix) => {
    const other = await api.signUp('Other');
    const runId = await aRequest();
    const foreign = await api.call(`/v1/requests/${runId}${suffix}`, { key: other.key });
    const unknown = await Promise.all(
      [api.ids.next('run'), 'run_x', 'abc', own.projectId, '%27%20or%20true'].map((id) =>
        api.call(`/v1/requests/${id}${suffix}`, { key: own.key }),
      ),
    );
    expect([foreign, ...unknown].map((answer) => answer.status)).toEqual([404, 404, 404, 404, 404, 404]);
    expect(new Set([foreign, ...unknown].map((answer) => answer.text)).size).toBe(1);
  });

  test('401: without a key', async () => {
    expect((await api.call('/v1/requests/run_x')).status).toBe(401);
    expect((await api.call('/v1/requests/run_x/explain')).status).toBe(401);
  });
});

describe('GET /v1/requests/:id/explain', () => {
  test('200: hold, terms, lines, rounding, and four steps with their events', async () => {
    const runId = await aRequest();
    const { status, body } = await api.call(`/v1/requests/${runId}/explain`, { key: own.key });
    expect(status).toBe(200);
    expect(body.price).toEqual({
      version: 'prices-1',
      kind: 'per_token',
      input_per_million: '0.1',
      cached_input_per_million: '0.05',
      output_per_million: '0.2',
      rounding: 'up',
    });
    expect(body.hold).toMatchObject({ prompt_tokens_max: 100, output_tokens_budget: 100, price: '0.00003', amount: '0.00003' });
    expect(body.charge).toEqual({
      lines: [
        { item: 'input_tokens', quantity: 20, rate: '0.1', per: 1_000_000, amount: '0.000002' },
        { item: 'cached_input_tokens', quantity: 10, rate: '0.05', per: 1_000_000, amount: '0.0000005' },
        { item: 'output_tokens', quantity: 7, rate: '0.2', per: 1_000_000, amount: '0.0000014' },
      ],
      exact: '0.0000039',
      rounding: 'up',
      price: '0.0000039',
      waiver: null,
      charged: '0.0000039',
      refunded: '0.0000261',
    });
    expect(body.adds_up).toBe(true);
    const at = '2026-04-27T15:30:02.000Z';
    const event = expect.stringMatching(/^[0-9a-f-]{36}$/);
    expect(body.steps).toEqual([
      {
        step: 'hold',
        event_type: 'CreditReserved',
        event_id: event,
        at: '2026-04-27T15:30:00.000Z',
        amount: '0.00003',
        from: 'available',
        to: 'held',
      },
      { step: 'charge', event_type: 'UsageRecorded', event_id: event, at, amount: '0.0000039', from: 'held', to: 'revenue' },
      { step: 'refund', event_type: 'CreditRefunded', event_id: event, at, amount: '0.0000261', from: 'held', to: 'available' },
      { step: 'settle', event_type: 'ReservationSettled', event_id: event, at, amount: null, from: null, to: null },
    ]);
    expect(new Set(body.steps.map((step: { event_id: string }) => step.event_id)).size).toBe(4);
  });

  test('200: counts that no engine gave are told apart', async () => {
    const runId = await aRequest({ usageSource: 'counted_locally' });
    const { body } = await api.call(`/v1/requests/${runId}/explain`, { key: own.key });
    expect(body.usage.counted_by).toBe('worker');
  });

  test('200: a failure says why nothing was charged', async () => {
    const runId = await aRequest({ status: 'failed', errorCode: 'engine_crashed', usage: [0, 0, 0], chargedNanos: 0n });
    const { body } = await api.call(`/v1/requests/${runId}/explain`, { key: own.key });
    expect(body.charge).toMatchObject({ waiver: 'run_failed', charged: '0', refunded: '0.00003' });
    expect(body.steps[1]).toMatchObject({ step: 'charge', amount: '0', from: null, to: null });
    expect(body.adds_up).toBe(true);
  });

  test('200: books that do not follow from the terms are shown as such', async () => {
    const runId = await aRequest({ chargedNanos: 4_000n });
    expect((await api.call(`/v1/requests/${runId}/explain`, { key: own.key })).body.adds_up).toBe(false);
  });

  test('200: while it runs there is a hold and nothing else', async () => {
    const runId = await aRequest({ status: 'reserved' });
    const { body } = await api.call(`/v1/requests/${runId}/explain`, { key: own.key });
    expect(body).toMatchObject({ status: 'reserved', charge: null, usage: null, adds_up: null });
    expect(body.steps).toHaveLength(1);
  });
});
