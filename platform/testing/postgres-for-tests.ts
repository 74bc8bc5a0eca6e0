/** A fresh database of the test run's server for each suite: nothing to clean up between tests, nothing shared between suites. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { pino } from 'pino';
import { type MigrationSource, migrate } from '../postgres/migrate.js';
import { createPostgresPool } from '../postgres/pool.js';

/** Set by Jest's global setup, or by whoever wants the tests to run against a server of their own. */
export const TEST_DATABASE_URL_VARIABLE = 'FAREBOX_TEST_DATABASE_URL';

const POOL_CONNECTIONS_DEFAULT = 8;

export type TestDatabase = {
  readonly connectionString: string;
  /** A pool of the suite's own, ended by `drop`. */
  readonly pool: pg.Pool;
  /** Ends the pool and removes the database, whoever is still connected to it. */
  drop(): Promise<void>;
};

export type TestDatabaseOptions = {
  /** What `migrate` applies first; nothing by default. */
  readonly migrations?: readonly MigrationSource[];
  /** 8 by default. */
  readonly connectionsMax?: number;
};

/** Rejects when the run has no server. */
export async function createTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const server = process.env[TEST_DATABASE_URL_VARIABLE];
  if (server === undefined) throw new Error(`no test server: run through Jest, or set ${TEST_DATABASE_URL_VARIABLE}`);
  const name = `test_${randomBytes(8).toString('hex')}`;
  await onServer(server, `create database ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  const connectionString = url.href;
  const logger = pino({ level: 'silent' });
  const connectionsMax = options.connectionsMax ?? POOL_CONNECTIONS_DEFAULT;
  const pool = createPostgresPool({ connectionString, connectionsMax, applicationName: name, logger });
  const drop = async () => {
    await pool.end();
    await onServer(server, `drop database if exists ${name} with (force)`);
  };
  try {
    await migrate({ pool, logger, sources: options.migrations ?? [] });
  } catch (error) {
    await drop();
    throw error;
  }
  return { connectionString, pool, drop };
}

async function onServer(connectionString: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
