/** The relay's memory in Postgres. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { packageFile } from '../../platform/package-root.js';
import { createTestDatabase, type TestDatabase } from '../../platform/testing/postgres-for-tests.js';
import { postgresCheckpoints } from './postgres-checkpoints.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ migrations: [{ owner: 'relay', folder: packageFile('events/relay/migrations/') }] });
});
afterAll(() => database.drop());

test('a relay begins before everything, resumes where it was, and is never set back', async () => {
  const checkpoints = postgresCheckpoints(database.pool, 'one');
  expect(await checkpoints.load()).toBe('');
  await checkpoints.save('0000000005-2');
  await checkpoints.save('0000000004-9');
  expect(await postgresCheckpoints(database.pool, 'one').load()).toBe('0000000005-2');
  expect(await postgresCheckpoints(database.pool, 'another').load()).toBe('');
});
