/** A fresh database with the tables that the API reads and writes, for one test file. */
import type pg from 'pg';
import { pino } from 'pino';
import { packageFile } from '../../../platform/package-root.js';
import { migrate } from '../../../platform/postgres/migrate.js';
import { createTestDatabase } from '../../../platform/testing/postgres-for-tests.js';

const SOURCES = [
  { owner: 'api', folder: packageFile('services/api/migrations/') },
  { owner: 'projector', folder: packageFile('services/projector/migrations/') },
];

export type ApiDatabase = { readonly pool: pg.Pool; close(): Promise<void> };

export async function openApiDatabase(): Promise<ApiDatabase> {
  const database = await createTestDatabase();
  await migrate({ pool: database.pool, logger: pino({ level: 'silent' }), sources: SOURCES });
  return { pool: database.pool, close: () => database.drop() };
}
