/** The Postgres store, and the one in memory that tests and simulations use, keep the same promises. */
import { expect, test } from '@jest/globals';
import { openApiDatabase } from '../testing/api-database.js';
import { describeIdempotencyStore } from '../testing/idempotency-store-contract.js';
import { MemoryIdempotencyStore } from '../testing/memory-idempotency-store.js';
import { PostgresIdempotencyStore } from './postgres-idempotency-store.js';

describeIdempotencyStore('idempotency keys in memory', async () => ({ store: new MemoryIdempotencyStore(), close: async () => undefined }));

describeIdempotencyStore('idempotency keys in Postgres', async () => {
  const database = await openApiDatabase();
  return { store: new PostgresIdempotencyStore(database.pool), close: () => database.close() };
});

test('an instance that starts alone ends the leases of the dead: their keys need not be waited for', async () => {
  const database = await openApiDatabase();
  const store = new PostgresIdempotencyStore(database.pool);
  const nowMs = Date.parse('2026-04-27T15:30:00Z');
  const claim = { projectId: 'prj_1', key: 'k', requestDigest: Buffer.alloc(32), accountId: 'acc_1', nowMs };
  await store.claim({ ...claim, runId: 'run_1', instanceId: 'ins_dead' });
  const again = { ...claim, runId: 'run_2', instanceId: 'ins_new' };
  expect(await store.claim(again)).toEqual({ status: 'running' });
  await store.endLeases();
  expect(await store.claim(again)).toEqual({ status: 'stale', runId: 'run_1', accountId: 'acc_1', chargedRunId: null });
  await database.close();
});
