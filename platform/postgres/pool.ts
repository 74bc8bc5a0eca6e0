/** Connections to Postgres: a bounded number, named after their user, none of which can wait for ever. */
import pg from 'pg';
import type { Logger } from 'pino';

/** A statement that takes longer is cancelled by the server: nothing on the request path comes near. */
export const STATEMENT_TIMEOUT_DEFAULT_MS = 30_000;
/** For processes that serve: longer than the server's own limit on a statement, so that it speaks only for a server that stands still. */
export const ANSWER_TIMEOUT_SERVING_MS = STATEMENT_TIMEOUT_DEFAULT_MS + 5_000;
/** A caller that gets no connection in this time is told so. */
export const CONNECT_TIMEOUT_MS = 10_000;
/** Unused connections are given back after this. */
const IDLE_TIMEOUT_MS = 60_000;

export type PostgresPoolOptions = {
  readonly connectionString: string;
  /** Shown in `pg_stat_activity`. */
  readonly applicationName: string;
  readonly connectionsMax: number;
  readonly logger: Logger;
  /** 0 for none. */
  readonly statementTimeoutMs?: number;
  /**
   * A caller is told after this that the server did not answer, and the connection is given up: the server's own limit is of no use when the
   * server stands still. None by default, because bulk work takes as long as it takes.
   */
  readonly answerTimeoutMs?: number;
  /** Server settings of each connection, such as `enable_seqscan: 'off'`. */
  readonly settings?: Readonly<Record<string, string>>;
};

/** Connects lazily: making the pool never fails. Lost connections are replaced when next needed. */
export function createPostgresPool(options: PostgresPoolOptions): pg.Pool {
  const settings = Object.entries(options.settings ?? {}).map(([name, value]) => `-c ${name}=${value}`);
  const pool = new pg.Pool({
    connectionString: options.connectionString,
    application_name: options.applicationName,
    max: options.connectionsMax,
    statement_timeout: options.statementTimeoutMs ?? STATEMENT_TIMEOUT_DEFAULT_MS,
    ...(options.answerTimeoutMs === undefined ? {} : { query_timeout: options.answerTimeoutMs }),
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    idleTimeoutMillis: IDLE_TIMEOUT_MS,
    keepAlive: true,
    ...(settings.length === 0 ? {} : { options: settings.join(' ') }),
  });
  // Without a listener, an idle connection that the server closes would end this process.
  pool.on('error', (error) => {
    // While the pool is being closed its connections are meant to go.
    if (!pool.ending) options.logger.warn({ err: error, application: options.applicationName }, 'postgres connection lost');
  });
  // The pool listens to idle connections only. One that is lost between two statements of a transaction would end this process just the same;
  // whoever holds it learns from its next statement.
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}
