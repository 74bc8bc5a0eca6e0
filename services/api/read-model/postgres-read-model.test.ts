import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type ApiDatabase, openApiDatabase } from '../testing/api-database.js';
import { seedAccount, seedQuarter, seedRequest } from '../testing/read-model-rows.js';
import { PostgresReadModel } from './postgres-read-model.js';
import { USAGE_DAYS_MAX, USAGE_GROUPS_MAX, type UsageQuery, type UsageReport } from './read-model.js';

const NOW_MS = Date.parse('2026-04-27T15:30:00Z');
let database: ApiDatabase;
let readModel: PostgresReadModel;
let projects = 0;

beforeAll(async () => {
  database = await openApiDatabase();
  readModel = new PostgresReadModel({ pool: database.pool });
});
afterAll(() => database.close());

const newProject = () => {
  projects += 1;
  return `prj_${projects}`;
};
const date = (text: string) => ({ kind: 'local', text: `${text}T00:00:00` }) as const;

async function report(projectId: string, query: Partial<UsageQuery> = {}): Promise<UsageReport> {
  const result = await readModel.usage({
    projectId,
    unit: 'USD',
    from: null,
    to: null,
    timezone: 'UTC',
    nowMs: NOW_MS,
    groupBy: null,
    ...query,
  });
  if (result.status === 'refused') throw new Error(result.reason);
  return result.report;
}

describe('usage', () => {
  test('of a project that did nothing is zero, day by day, for 30 days that end today', async () => {
    const usage = await report(newProject());
    expect(usage.totals).toEqual({
      requests: 0,
      completed: 0,
      cancelled: 0,
      failed: 0,
      expired: 0,
      promptTokens: 0,
      cachedTokens: 0,
      completionTokens: 0,
      chargedNanos: 0n,
    });
    expect(usage.days).toHaveLength(30);
    expect(usage.days[0]?.date).toBe('2026-03-29');
    expect(usage.days.at(-1)?.date).toBe('2026-04-27');
    expect(usage.fromMs).toBe(Date.parse('2026-03-29T00:00:00Z'));
    expect(usage.toMs).toBe(NOW_MS + 15 * 60_000);
  });

  test.each(['UTC', 'Asia/Kathmandu', 'America/St_Johns', 'Australia/Lord_Howe', 'Europe/Paris', 'America/Los_Angeles'])(
    'in %s: the days add up to the totals across changes of the clock, and every quarter is in the day it belongs to',
    async (timezone) => {
      const projectId = newProject();
      const expected = new Map<string, bigint>();
      const dayOf = new Intl.DateTimeFormat('en-CA', { timeZone: timezone, year: 'numeric', month: '2-digit', day: '2-digit' });
      // Every 45 minutes over the changes of the clock in March and April 2026, amounts that no two share.
      let amount = 1n;
      for (let atMs = Date.parse('2026-03-05T00:00:00Z'); atMs < Date.parse('2026-04-09T00:00:00Z'); atMs += 45 * 60_000) {
        await seedQuarter(database.pool, { projectId, start: new Date(atMs).toISOString(), chargedNanos: amount });
        const day = dayOf.format(atMs);
        expected.set(day, (expected.get(day) ?? 0n) + amount);
        amount *= 3n;
        amount %= 1_000_000_007n;
      }
      const usage = await report(projectId, { timezone, from: date('2026-03-07'), to: date('2026-04-07') });
      expect(usage.days).toHaveLength(31);
      for (const day of usage.days) expect([day.date, day.chargedNanos]).toEqual([day.date, expected.get(day.date) ?? 0n]);
      expect(usage.days.reduce((sum, day) => sum + day.chargedNanos, 0n)).toBe(usage.totals.chargedNanos);
      expect(usage.days.reduce((sum, day) => sum + day.requests, 0)).toBe(usage.totals.requests);
    },
  );

  test('begins and ends on the quarters round the given instants, the end not included', async () => {
    const projectId = newProject();
    for (const time of ['09:45', '10:00', '10:15', '10:30', '10:45']) {
      await seedQuarter(database.pool, { projectId, start: `2026-04-20T${time}:00Z`, chargedNanos: 1n });
    }
    const from = { kind: 'instant', text: '2026-04-20T10:07:00Z' } as const;
    const wide = await report(projectId, { from, to: { kind: 'instant', text: '2026-04-20T10:31:00Z' } });
    expect([wide.fromMs, wide.toMs]).toEqual([Date.parse('2026-04-20T10:00:00Z'), Date.parse('2026-04-20T10:45:00Z')]);
    expect(wide.totals.chargedNanos).toBe(3n);
    const exact = await report(projectId, { from, to: { kind: 'instant', text: '2026-04-20T10:30:00Z' } });
    expect(exact.totals.chargedNanos).toBe(2n);
    expect(exact.days.map((day) => day.date)).toEqual(['2026-04-20']);
  });

  test('refuses an empty range and one that is too long', async () => {
    const query = { projectId: 'prj_x', unit: 'USD', timezone: 'UTC', nowMs: NOW_MS, groupBy: null } as const;
    expect(await readModel.usage({ ...query, from: date('2026-04-02'), to: date('2026-04-01') })).toEqual({
      status: 'refused',
      reason: 'range_empty',
    });
    const longest = date(new Date(Date.parse('2024-01-01T00:00:00Z') + USAGE_DAYS_MAX * 86_400_000).toISOString().slice(0, 10));
    expect(await readModel.usage({ ...query, from: date('2024-01-01'), to: longest })).toMatchObject({ status: 'reported' });
    expect(await readModel.usage({ ...query, from: date('2023-12-31'), to: longest })).toEqual({
      status: 'refused',
      reason: 'range_too_long',
    });
  });

  test('breaks down by model and by consumer, dearest first, and the groups add up to the totals', async () => {
    const projectId = newProject();
    const start = '2026-04-20T10:00:00Z';
    await seedQuarter(database.pool, { projectId, start, model: 'a', chargedNanos: 5n });
    await seedQuarter(database.pool, { projectId, start, model: 'b', chargedNanos: 7n });
    await seedQuarter(database.pool, { projectId, start, model: 'a', consumerId: 'con_1', chargedNanos: 11n });
    const byModel = await report(projectId, { groupBy: 'model' });
    expect(byModel.groups?.map((group) => [group.key, group.chargedNanos])).toEqual([
      ['a', 16n],
      ['b', 7n],
    ]);
    const byConsumer = await report(projectId, { groupBy: 'consumer' });
    expect(byConsumer.groups?.map((group) => [group.key, group.chargedNanos])).toEqual([
      ['', 12n],
      ['con_1', 11n],
    ]);
    expect(byModel.totals.chargedNanos).toBe(23n);
    expect(byModel.areGroupsTruncated).toBe(false);
  });

  test('says when there are more groups than it shows', async () => {
    const projectId = newProject();
    await database.pool.query(
      `insert into read_model.usage_quarters
       select $1, '2026-04-20T10:00:00Z', 'con_' || n, 'm', 'USD', 1, 1, 0, 0, 0, 1, 0, 1, n from generate_series(1, $2::integer) n`,
      [projectId, USAGE_GROUPS_MAX + 1],
    );
    const usage = await report(projectId, { groupBy: 'consumer' });
    expect(usage.groups).toHaveLength(USAGE_GROUPS_MAX);
    expect(usage.groups?.[0]?.key).toBe(`con_${USAGE_GROUPS_MAX + 1}`);
    expect(usage.areGroupsTruncated).toBe(true);
  });

  test('holds neither other projects nor other units', async () => {
    const projectId = newProject();
    await seedQuarter(database.pool, { projectId, start: '2026-04-20T10:00:00Z', chargedNanos: 1n });
    await seedQuarter(database.pool, { projectId, start: '2026-04-20T10:15:00Z', unit: 'credit', chargedNanos: 2n });
    await seedQuarter(database.pool, { projectId: newProject(), start: '2026-04-20T10:00:00Z', chargedNanos: 4n });
    expect((await report(projectId)).totals.chargedNanos).toBe(1n);
  });

  test('keeps sums beyond 64 bits exact', async () => {
    const projectId = newProject();
    const largest = 9_223_372_036_854_775_807n;
    await seedQuarter(database.pool, { projectId, start: '2026-04-20T10:00:00Z', chargedNanos: largest });
    await seedQuarter(database.pool, { projectId, start: '2026-04-20T10:15:00Z', chargedNanos: largest });
    expect((await report(projectId)).totals.chargedNanos).toBe(2n * largest);
  });
});

describe('requests', () => {
  const terms = { kind: 'per_started_thousand', pricePerStartedThousandNanos: 1_000_000_000n } as const;

  test('come back whole, and to their own project only', async () => {
    await seedRequest(database.pool, {
      runId: 'run_1',
      accountId: 'acc_1',
      projectId: 'prj_own',
      consumerId: 'con_1',
      status: 'completed',
      terms,
      usage: [900, 100, 200],
      heldNanos: 3_000_000_000n,
      chargedNanos: 2_000_000_000n,
    });
    const record = await readModel.request('prj_own', 'run_1');
    expect(record).toMatchObject({
      runId: 'run_1',
      consumerId: 'con_1',
      status: 'completed',
      usage: { promptTokens: 900, cachedTokens: 100, completionTokens: 200 },
      heldNanos: 3_000_000_000n,
      chargedNanos: 2_000_000_000n,
      refundedNanos: 1_000_000_000n,
      terms,
      reservedAtMs: NOW_MS,
      settledAtMs: NOW_MS + 2_000,
    });
    expect(await readModel.request('prj_other', 'run_1')).toBeNull();
    expect(await readModel.request('prj_own', 'run_2')).toBeNull();
  });

  test('that still run have an unknown usage and charge, not a zero one', async () => {
    await seedRequest(database.pool, {
      runId: 'run_3',
      accountId: 'acc_1',
      projectId: 'prj_own',
      status: 'reserved',
      terms,
      heldNanos: 5n,
    });
    expect(await readModel.request('prj_own', 'run_3')).toMatchObject({ usage: null, chargedNanos: null, settledAtMs: null });
  });
});

describe('accounts, billing, trial balance', () => {
  test('accounts that were never opened are absent', async () => {
    await seedAccount(database.pool, { accountId: 'acc_9', projectId: 'prj_9', availableNanos: -5n, heldNanos: 7n, revision: 3 });
    const accounts = await readModel.accounts(['acc_9', 'acc_none']);
    expect([...accounts.values()]).toEqual([{ accountId: 'acc_9', availableNanos: -5n, heldNanos: 7n, revision: 3 }]);
    expect((await readModel.accounts([])).size).toBe(0);
  });

  test('billing is shown to its own project only', async () => {
    await database.pool.query(
      `insert into read_model.consumer_billing values ('con_9', 'prj_9', 'USD', 100, 30, 2, '2026-04-27T15:30:00Z')`,
    );
    expect(await readModel.consumerBilling('prj_9', 'con_9')).toEqual({
      consumerId: 'con_9',
      grantedNanos: 100n,
      chargedNanos: 30n,
      requests: 2,
      lastRequestAtMs: NOW_MS,
    });
    expect(await readModel.consumerBilling('prj_8', 'con_9')).toBeNull();
  });

  test('the trial balance keeps amounts beyond 64 bits', async () => {
    await database.pool.query(`insert into read_model.trial_balance values ('USD', 'live', 'revenue', 92233720368547758070, 12)`);
    expect(await readModel.trialBalance()).toEqual([
      { unit: 'USD', environment: 'live', ledgerAccount: 'revenue', balanceNanos: 92_233_720_368_547_758_070n, postings: 12 },
    ]);
  });

  test('revisions are reached when every account has come as far', async () => {
    await seedAccount(database.pool, { accountId: 'acc_r', projectId: 'prj_r', availableNanos: 0n, revision: 4 });
    const wait = (revision: number, other = 'acc_9') =>
      readModel.waitForRevisions(
        [
          { accountId: 'acc_r', revision },
          { accountId: other, revision: 0 },
        ],
        50,
      );
    expect(await wait(4)).toBe('current');
    expect(await wait(5)).toBe('stale');
    expect(await wait(4, 'acc_never_opened')).toBe('stale');
    const waiting = readModel.waitForRevisions([{ accountId: 'acc_r', revision: 5 }], 10_000);
    await seedAccount(database.pool, { accountId: 'acc_r', projectId: 'prj_r', availableNanos: 0n, revision: 5 });
    expect(await waiting).toBe('current');
  });

  test('ids reach SQL as parameters', async () => {
    await expect(readModel.accounts(["acc'; drop table read_model.journal; --"])).resolves.toEqual(new Map());
    await expect(database.pool.query('select 1 from read_model.journal')).resolves.toMatchObject({ rowCount: 0 });
  });
});
