/** A data directory from an older build starts with this one: what its views held is read on, and what they did not hold is said to be unknown. */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { packageFile } from '../../../platform/package-root.js';
import { migrate } from '../../../platform/postgres/migrate.js';
import { createTestDatabase, type TestDatabase } from '../../../platform/testing/postgres-for-tests.js';
import { seedAccount, seedQuarter } from '../testing/read-model-rows.js';
import { PostgresReadModel } from './postgres-read-model.js';

const logger = pino({ level: 'silent' });
const MIGRATIONS = packageFile('services/projector/migrations/');
const FIRST = '0001-read-model.sql';
/** What older builds have on record. Were the file changed, none of their databases would start any more. */
const FIRST_SHA256 = 'af5b3258a199512d72b03dfc5cea8a781674658d72fc5284a45538c7574f9676';

let directory: string;
let database: TestDatabase;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'farebox-older-'));
  const folder = join(directory, 'migrations');
  mkdirSync(folder);
  copyFileSync(fileURLToPath(new URL(FIRST, MIGRATIONS)), join(folder, FIRST));
  database = await createTestDatabase();
  await migrate({ pool: database.pool, logger, sources: [{ owner: 'projector', folder: pathToFileURL(`${folder}/`) }] });
});
afterAll(async () => {
  await database.drop();
  rmSync(directory, { recursive: true, force: true });
});

const TERMS =
  '{"kind":"per_token","inputPerMillionNanos":"100","cachedInputPerMillionNanos":"50","outputPerMillionNanos":"200","rounding":"up"}';

/** As the older build wrote them: with the columns of its day. */
async function insertRequests(): Promise<void> {
  const columns = `run_id, account_id, project_id, key_id, model, unit, status, finish_reason, attempt, prompt_tokens, cached_tokens,
    completion_tokens, held_nanos, charged_nanos, refunded_nanos, price_version, terms, prompt_tokens_max, output_tokens_budget, reserved_at,
    deadline_at, settled_at, reserved_event_id, usage_event_id, refund_event_id, settled_event_id`;
  const id = (n: number) => `00000000-0000-4000-8000-00000000000${n}`;
  const reserved = `'v1', '${TERMS}', 100, 50, '2026-04-01T10:00:00Z', '2026-04-01T10:05:00Z'`;
  await database.pool.query(`insert into read_model.requests (${columns}) values
    ('run_done', 'acc_1', 'prj_1', 'key_1', 'm', 'USD', 'completed', 'stop', 1, 10, 2, 5, 1000, 300, 700, ${reserved},
      '2026-04-01T10:00:02Z', '${id(1)}', '${id(2)}', '${id(3)}', '${id(4)}'),
    ('run_open', 'acc_1', 'prj_1', 'key_1', 'm', 'USD', 'reserved', null, null, null, null, null, 500, null, null, ${reserved},
      null, '${id(5)}', null, null, null)`);
}

test('views that only the first migration had made are migrated and read', async () => {
  const { rows } = await database.pool.query(`select name, sha256 from platform.migrations where owner = 'projector'`);
  expect(rows).toEqual([{ name: FIRST, sha256: FIRST_SHA256 }]);
  await insertRequests();
  await seedAccount(database.pool, { accountId: 'acc_1', projectId: 'prj_1', availableNanos: 9_200n, heldNanos: 500n, revision: 5 });
  await seedQuarter(database.pool, { projectId: 'prj_1', start: '2026-04-01T10:00:00Z', tokens: [10, 2, 5], chargedNanos: 300n });
  await database.pool.query(
    `insert into read_model.trial_balance values ('USD', 'live', 'available', 9200, 3), ('USD', 'live', 'revenue', -9200, 3)`,
  );
  await database.pool.query(`insert into read_model.checkpoints values ('read_model', '00000000000000000042:7', 7, now())`);

  const applied = await migrate({ pool: database.pool, logger, sources: [{ owner: 'projector', folder: MIGRATIONS }] });
  expect(applied.length).toBeGreaterThanOrEqual(1);
  expect(applied).not.toContain(`projector/${FIRST}`);

  const readModel = new PostgresReadModel({ pool: database.pool });
  expect(await readModel.request('prj_1', 'run_done')).toMatchObject({
    status: 'completed',
    finishReason: 'stop',
    usage: { promptTokens: 10, cachedTokens: 2, completionTokens: 5 },
    usageSource: 'engine',
    heldNanos: 1_000n,
    chargedNanos: 300n,
    refundedNanos: 700n,
    terms: { kind: 'per_token', outputPerMillionNanos: 200n },
    settledAtMs: Date.parse('2026-04-01T10:00:02Z'),
  });
  expect(await readModel.request('prj_1', 'run_open')).toMatchObject({
    status: 'reserved',
    usage: null,
    chargedNanos: null,
    settledAtMs: null,
  });
  expect(await readModel.accounts(['acc_1'])).toEqual(
    new Map([['acc_1', { accountId: 'acc_1', availableNanos: 9_200n, heldNanos: 500n, revision: 5 }]]),
  );
  expect(await readModel.trialBalance()).toHaveLength(2);
  const usage = await readModel.usage({
    projectId: 'prj_1',
    unit: 'USD',
    from: { kind: 'local', text: '2026-04-01T00:00:00' },
    to: { kind: 'local', text: '2026-04-02T00:00:00' },
    timezone: 'UTC',
    nowMs: Date.parse('2026-04-03T00:00:00Z'),
    groupBy: null,
  });
  expect(usage).toMatchObject({ status: 'reported', report: { totals: { requests: 1, chargedNanos: 300n } } });
  const kept = await database.pool.query(`select position, events::int from read_model.checkpoints`);
  expect(kept.rows).toEqual([{ position: '00000000000000000042:7', events: 7 }]);
});

test('a start after that one has nothing left to do', async () => {
  expect(await migrate({ pool: database.pool, logger, sources: [{ owner: 'projector', folder: MIGRATIONS }] })).toEqual([]);
});
