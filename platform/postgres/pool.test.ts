/** Nobody waits for ever, and a connection whose server stood still is not used again. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { createTestDatabase, type TestDatabase } from '../testing/postgres-for-tests.js';
import { createPostgresPool } from './pool.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

test('a statement that is not answered in time is given up with its connection', async () => {
  const { connectionString } = database;
  const logger = pino({ level: 'silent' });
  const pool = createPostgresPool({ connectionString, logger, applicationName: 'pool-test', connectionsMax: 1, answerTimeoutMs: 50 });
  const backend = async () => (await pool.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid;
  const before = await backend();
  await expect(pool.query('select pg_sleep(60)')).rejects.toThrow('timeout');
  expect(await backend()).not.toBe(before);
  expect(pool.totalCount).toBe(1);
  await database.pool.query('select pg_terminate_backend($1)', [before]);
  await pool.end();
});
