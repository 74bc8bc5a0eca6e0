/**
 * A real Postgres server as a child of this process, from the npm registry: no installation, no port, no password. It works as any user,
 * root included, and heals itself after either of the two was killed.
 *
 *     own the data directory ─▶ end an orphaned server ─▶ initdb, once ─▶ start ─▶ serving ─┐
 *                                                             ▲                            │ died
 *                                                             └──────── backoff ◀──────────┘
 */
import { mkdirSync, realpathSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import pg from 'pg';
import type { Logger } from 'pino';
import { findPostgresBinaries, libraryEnvironment } from './embedded/binaries.js';
import { EMBEDDED_USER, ensureCluster } from './embedded/cluster.js';
import { EmbeddedPostgresError } from './embedded/embedded-postgres-error.js';
import { takeOwnerLock } from './embedded/owner-lock.js';
import { type Postmaster, type PostmasterOptions, startPostmaster } from './embedded/postmaster.js';
import { endPreviousPostmaster } from './embedded/previous-postmaster.js';
import { choosePostgresUser } from './embedded/run-as.js';
import { serverSettings } from './embedded/server-settings.js';
import { openSocketDirectory, socketDirectoryFor } from './embedded/socket-directory.js';

export { EmbeddedPostgresError };

const DATABASE = 'farebox';
/** A server that died is started again after this long, doubling up to the maximum while it does not come up. */
const RESTART_DELAY_MIN_MS = 50;
const RESTART_DELAY_MAX_MS = 5_000;

export type EmbeddedPostgresOptions = {
  /** The server's files go into `postgres` and `run` below it. Made when missing. */
  readonly dataDirectory: string;
  readonly logger: Logger;
  /** Server settings beyond or instead of the usual ones; tests turn durability off. */
  readonly settings?: Readonly<Record<string, string>>;
};

export type EmbeddedPostgres = {
  /** For `pg`: a socket, a user without a password, a database of its own. Stays the same over restarts. */
  readonly connectionString: string;
  /** Process id of the server, or `null` while it is down and being started again. */
  postmasterPid(): number | null;
  /** Fast shutdown: ends connections, writes a checkpoint. */
  stop(): Promise<void>;
};

/** Throws `EmbeddedPostgresError` with what to do about it. Needs about a second the first time and a tenth of one afterwards. */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { logger } = options;
  const binaries = findPostgresBinaries();
  const dataDirectory = openDataDirectory(options.dataDirectory);
  const clusterDirectory = join(dataDirectory, 'postgres');
  const socketDirectory = socketDirectoryFor(dataDirectory);
  const user = choosePostgresUser({ clusterDirectory, binariesDirectory: binaries.directory });
  openSocketDirectory(socketDirectory, user);
  const ownerLock = await takeOwnerLock(join(socketDirectory, 'owner.sock'), dataDirectory);
  try {
    await endPreviousPostmaster(clusterDirectory, logger);
    const environment = libraryEnvironment(binaries, join(dataDirectory, 'postgres-libraries'));
    await ensureCluster({ clusterDirectory, binaries, user, environment });
    const settings = { ...serverSettings(socketDirectory), ...options.settings };
    const server = await supervise({ clusterDirectory, binaries, user, environment, settings, logger }, socketDirectory);
    const connectionString = connectionStringOf(socketDirectory, DATABASE);
    await createDatabase(socketDirectory).catch(async (error: unknown) => {
      await server.stop();
      throw error;
    });
    const stop = async () => {
      await server.stop();
      await ownerLock.release();
    };
    let stopping: Promise<void> | null = null;
    return {
      connectionString,
      postmasterPid: server.pid,
      stop: () => {
        stopping ??= stop();
        return stopping;
      },
    };
  } catch (error) {
    await ownerLock.release();
    throw error;
  }
}

function openDataDirectory(path: string): string {
  try {
    mkdirSync(path, { recursive: true });
    return realpathSync(path);
  } catch (error) {
    throw new EmbeddedPostgresError(
      `The data directory ${resolve(path)} cannot be used: ${(error as Error).message}. Set FAREBOX_DATA_DIR.`,
    );
  }
}

type Supervised = { pid(): number | null; stop(): Promise<void> };

/** Starts the server and, as long as nobody stops it, starts it again whenever it dies. */
async function supervise(options: PostmasterOptions, socketDirectory: string): Promise<Supervised> {
  const { logger } = options;
  const start = async () => {
    // Whoever owned this socket is gone, and its lock file would stop a server whose id was given to another process since.
    for (const name of ['.s.PGSQL.5432', '.s.PGSQL.5432.lock']) rmSync(join(socketDirectory, name), { force: true });
    return startPostmaster(options);
  };
  let current: Postmaster | null = await start();
  const stopped = new AbortController();
  const keepAlive = async () => {
    let delayMs = RESTART_DELAY_MIN_MS;
    while (current !== null) {
      await current.exited;
      current = null;
      while (current === null && !stopped.signal.aborted) {
        logger.error({ delayMs }, 'postgres has died; starting it again');
        await delayUnlessAborted(delayMs, stopped.signal);
        delayMs = Math.min(RESTART_DELAY_MAX_MS, delayMs * 2);
        if (stopped.signal.aborted) return;
        current = await endPreviousPostmaster(options.clusterDirectory, logger)
          .then(start)
          .catch((error: unknown) => {
            logger.error({ err: error }, 'postgres could not be started again');
            return null;
          });
      }
      if (current !== null) delayMs = RESTART_DELAY_MIN_MS;
      if (stopped.signal.aborted) return;
    }
  };
  const supervision = keepAlive();
  return {
    pid: () => current?.pid ?? null,
    async stop() {
      stopped.abort();
      await current?.stop();
      await supervision;
      // The server may have come up while it was being stopped.
      await current?.stop();
    },
  };
}

function delayUnlessAborted(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resume) => {
    const timer = setTimeout(resume, delayMs);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resume();
    });
  });
}

function connectionStringOf(socketDirectory: string, database: string): string {
  return `postgresql://${EMBEDDED_USER}@localhost/${database}?host=${encodeURIComponent(socketDirectory)}`;
}

async function createDatabase(socketDirectory: string): Promise<void> {
  const client = new pg.Client({ connectionString: connectionStringOf(socketDirectory, 'postgres') });
  await client.connect();
  try {
    const { rowCount } = await client.query('select from pg_database where datname = $1', [DATABASE]);
    if (rowCount === 0) await client.query(`create database ${DATABASE}`);
  } finally {
    await client.end();
  }
}
