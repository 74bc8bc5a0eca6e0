/**
 * Gives a test run one real Postgres server: the one that `FAREBOX_TEST_DATABASE_URL` names (its user must be allowed to create databases),
 * else an embedded one in a temporary directory. Suites get databases of their own from `postgres-for-tests.ts`.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { startEmbeddedPostgres } from '../postgres/embedded.js';
import { TEST_DATABASE_URL_VARIABLE } from './postgres-for-tests.js';

/** What the setup leaves for the teardown, which Jest runs in the same process. */
export type TestServer = { stop(): Promise<void> };

declare global {
  var fareboxTestServer: TestServer | undefined;
}

/** A test database outlives no crash, so it need not wait for the disk. Suites that test durability start servers of their own. */
const NOT_DURABLE = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' };

export default async function startTestServer(): Promise<void> {
  if (process.env[TEST_DATABASE_URL_VARIABLE] !== undefined) return;
  const dataDirectory = await mkdtemp(join(tmpdir(), 'farebox-tests-'));
  // Open enough for the user that Postgres runs as when the tests run as root.
  await chmod(dataDirectory, 0o755);
  const removeFiles = () => rm(dataDirectory, { recursive: true, force: true });
  try {
    const server = await startEmbeddedPostgres({ dataDirectory, logger: pino({ level: 'silent' }), settings: NOT_DURABLE });
    process.env[TEST_DATABASE_URL_VARIABLE] = server.connectionString;
    globalThis.fareboxTestServer = {
      async stop() {
        await server.stop();
        await removeFiles();
      },
    };
  } catch (error) {
    await removeFiles();
    throw error;
  }
}
