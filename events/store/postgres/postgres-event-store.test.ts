/** The Postgres store keeps the port's promises on a real server. */
import { afterAll, beforeAll } from '@jest/globals';
import { pino } from 'pino';
import { packageFile } from '../../../platform/package-root.js';
import { createTestDatabase, type TestDatabase } from '../../../platform/testing/postgres-for-tests.js';
import { describeEventStoreContract } from '../event-store-contract.js';
import { createPostgresEventStore } from './postgres-event-store.js';

const logger = pino({ level: 'silent' });
let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase({ migrations: [{ owner: 'event-store', folder: packageFile('events/store/postgres/migrations/') }] });
});

afterAll(async () => {
  await database.drop();
});

describeEventStoreContract('postgres', () => createPostgresEventStore({ pool: database.pool, logger }));
