/** Verification finds what has been tampered with, says where, and is silent about sound books. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { EventStore } from '../../events/store/event-store.js';
import { createPostgresEventStore } from '../../events/store/postgres/postgres-event-store.js';
import type { TestDatabase } from '../../platform/testing/postgres-for-tests.js';
import { applyLivePage } from './postgres/apply-page.js';
import { appendHistories, emptyViews, openProjectorDatabase, silent, storeWith } from './testing/projector-database.js';
import { DISCREPANCIES_MAX, verifyReadModel } from './verify.js';

let database: TestDatabase;
let store: EventStore;

beforeAll(async () => {
  database = await openProjectorDatabase();
  store = await storeWith({ accounts: 4, runsPerAccount: 9, openRuns: 1, overlap: 1, stepMs: 400_000 });
});
afterAll(() => database.drop());
beforeEach(() => emptyViews(database.pool));

const checks = async () => (await verifyReadModel(database.pool, store)).discrepancies.map(({ check }) => check);

describe('sound books', () => {
  test.each([0, 1, 57, 90])('up to a checkpoint after %i events', async (count) => {
    const events = (await store.readAll('', 10_000)).slice(0, count);
    await applyLivePage(database.pool, events);
    const position = events.at(-1)?.position ?? '';
    expect(await verifyReadModel(database.pool, store)).toEqual({ events: count, linkedEvents: 144, position, discrepancies: [] });
  });
});

describe('what has been tampered with is named', () => {
  const account = '(select min(account_id) from read_model.account_balances)';
  test.each([
    [
      'a balance',
      `update read_model.account_balances set available_nanos = available_nanos + 1 where account_id = ${account}`,
      /^account_balances acc_\w+ available_nanos$/,
    ],
    ['a lost account', `delete from read_model.account_balances where account_id = ${account}`, /^account_balances acc_\w+ rows$/],
    [
      'a lost request',
      `delete from read_model.requests where run_id = (select min(run_id) from read_model.requests)`,
      /^requests acc_\w+ runs$/,
    ],
    [
      'a request of somebody else',
      `update read_model.requests set account_id = 'acc_other' where run_id = (select min(run_id) from read_model.requests)`,
      /^requests acc_other rows$/,
    ],
    ['tokens', 'update read_model.requests set completion_tokens = completion_tokens + 1', /^requests acc_\w+ completion_tokens$/],
    [
      'usage in another quarter',
      "update read_model.usage_quarters set quarter_start = quarter_start + interval '1 year'",
      /^usage_quarters prj_\w+ \w* ?model-\d quarters$/,
    ],
    ['usage', 'update read_model.usage_quarters set charged_nanos = charged_nanos + 1', /^usage of all requests$/],
    ['a consumer', 'update read_model.consumer_billing set requests = requests + 1', /^consumer_billing con_\w+ requests$/],
    [
      'the journal',
      "update read_model.journal set credit_account = 'adjustments' where credit_account = 'revenue'",
      /^revenue in the journal$/,
    ],
    [
      'the trial balance',
      "update read_model.trial_balance set balance_nanos = balance_nanos + 1 where ledger_account = 'revenue'",
      /^trial balance of USD live$/,
    ],
    ['the checkpoint', 'update read_model.checkpoints set events = events + 1', /^events$/],
  ])('%s', async (_name, sql, expected) => {
    await applyLivePage(database.pool, await store.readAll('', 10_000));
    await database.pool.query(sql);
    expect(await checks()).toContainEqual(expect.stringMatching(expected));
  });
});

describe('a log that has been tampered with is told from what was written', () => {
  let truth: EventStore;
  const where = `from event_store.events where type = 'UsageRecorded' and data->>'chargedNanos' <> '0' order by stream, revision limit 1`;
  const victim = async () =>
    (await database.pool.query<{ id: string; stream: string; revision: string }>(`select id, stream, revision ${where}`)).rows[0];

  beforeEach(async () => {
    await database.pool.query('truncate event_store.events');
    truth = createPostgresEventStore({ pool: database.pool, logger: silent });
    await appendHistories(truth, { accounts: 3, runsPerAccount: 6 });
    await applyLivePage(database.pool, await truth.readAll('', 10_000));
    expect((await verifyReadModel(database.pool, truth)).discrepancies).toEqual([]);
  });
  afterEach(() => truth.close());

  test('a row that was edited in the database is named, and nothing else', async () => {
    const edited = await victim();
    await database.pool.query(
      `update event_store.events set data = (data::jsonb || '{"usage":{"promptTokens":1,"cachedTokens":0,"completionTokens":1}}')::json
       where id = $1`,
      [edited?.id],
    );
    const { discrepancies } = await verifyReadModel(database.pool, truth);
    const chains = discrepancies.filter(({ check }) => check.startsWith('chain of '));
    expect(chains).toHaveLength(1);
    expect(chains[0]?.check).toBe(`chain of ${edited?.stream.replace('account-', '')}`);
    expect(chains[0]?.words).toContain(`event ${edited?.revision} of account`);
    expect(chains[0]?.words).toContain(`(UsageRecorded ${edited?.id})`);
  });

  test('an amount that no longer adds up is named before the log refuses to fold', async () => {
    const edited = await victim();
    await database.pool.query(`update event_store.events set data = (data::jsonb || '{"chargedNanos":"1"}')::json where id = $1`, [
      edited?.id,
    ]);
    const { discrepancies } = await verifyReadModel(database.pool, truth);
    expect(discrepancies.map(({ words }) => words)).toEqual([
      expect.stringContaining(`(UsageRecorded ${edited?.id})`),
      expect.stringMatching(/^the log does not fold: /),
    ]);
  });

  test('keys in another order, as a store may keep them, change nothing', async () => {
    await database.pool.query('update event_store.events set data = data::jsonb::json');
    expect((await verifyReadModel(database.pool, truth)).discrepancies).toEqual([]);
  });

  test('a hash that was taken away is named', async () => {
    const edited = await victim();
    await database.pool.query(`update event_store.events set metadata = (metadata::jsonb - 'chain')::json where id = $1`, [edited?.id]);
    const { discrepancies } = await verifyReadModel(database.pool, truth);
    expect(discrepancies[0]?.words).toContain('has no hash');
  });
});

test('the report of a view that is far off stays short', async () => {
  await applyLivePage(database.pool, await store.readAll('', 10_000));
  await database.pool.query(
    `insert into read_model.consumer_billing select 'con_' || n, 'prj', 'USD', 0, 0, 0, null from generate_series(1, 500) as n`,
  );
  const { discrepancies } = await verifyReadModel(database.pool, store);
  expect(discrepancies).toHaveLength(DISCREPANCIES_MAX + 1);
  expect(discrepancies.at(-1)).toEqual({ check: 'further differences', view: '400', log: '0' });
});
