/** The one Postgres of the embedded deployment: started here or given by `DATABASE_URL`, migrated, with the event store on top. */
import pg, { type Pool } from 'pg';
import type { Logger } from 'pino';
import type { EventStore } from '../../events/store/event-store.js';
import type { EventStoreDbConnection } from '../../events/store/eventstoredb/connection-string.js';
import { createEventStoreDbStore } from '../../events/store/eventstoredb/eventstoredb-store.js';
import { createPostgresEventStore } from '../../events/store/postgres/postgres-event-store.js';
import { packageFile } from '../../platform/package-root.js';
import { startEmbeddedPostgres } from '../../platform/postgres/embedded.js';
import { migrate } from '../../platform/postgres/migrate.js';
import { createPostgresPool } from '../../platform/postgres/pool.js';
import { createShutdown } from '../../platform/shutdown.js';

/** Every owner's tables, in the order in which they may depend on each other. */
export const MIGRATION_SOURCES = [
  { owner: 'event-store', folder: packageFile('events/store/postgres/migrations/') },
  { owner: 'ledger', folder: packageFile('services/ledger/migrations/') },
  { owner: 'projector', folder: packageFile('services/projector/migrations/') },
  { owner: 'api', folder: packageFile('services/api/migrations/') },
];

/** Connections of the whole process. Two appends, the projection, and a few readers at once keep two cores busy. */
const POOL_CONNECTIONS_MAX = 12;

/** Advisory lock of the one embedded Farebox that serves a database. An arbitrary constant. */
const SERVING_LOCK = 7_120_418;

/** Another embedded Farebox serves this database: each would take the other's runs for dead. */
export class DatabaseInUseError extends Error {
  override readonly name = 'DatabaseInUseError';
}

export type Database = {
  readonly pool: Pool;
  readonly store: EventStore;
  /** Makes this process the one that serves requests from the database, until it is closed. Throws `DatabaseInUseError`. */
  claim(): Promise<void>;
  close(): Promise<void>;
};

export async function openDatabase(options: {
  /** Where the embedded server keeps its files. */
  readonly dataDirectory: string;
  readonly databaseUrl: string | undefined;
  /** Where the event store is one of its own; in the database otherwise. */
  readonly eventStoreDb?: EventStoreDbConnection | null;
  readonly logger: Logger;
  /** For a process that serves requests; bulk work has no such limit. */
  readonly answerTimeoutMs?: number;
}): Promise<Database> {
  const { logger, answerTimeoutMs } = options;
  const shutdown = createShutdown(logger);
  try {
    let connectionString = options.databaseUrl;
    if (connectionString === undefined) {
      const server = await startEmbeddedPostgres({ dataDirectory: options.dataDirectory, logger });
      shutdown.push('embedded Postgres', () => server.stop());
      connectionString = server.connectionString;
    }
    const pool = createPostgresPool({
      connectionString,
      connectionsMax: POOL_CONNECTIONS_MAX,
      applicationName: 'farebox',
      logger,
      ...(answerTimeoutMs === undefined ? {} : { answerTimeoutMs }),
    });
    shutdown.push('pool', () => pool.end());
    await migrate({ pool, logger, sources: MIGRATION_SOURCES });
    const { eventStoreDb = null } = options;
    const store = eventStoreDb === null ? createPostgresEventStore({ pool, logger }) : createEventStoreDbStore({ ...eventStoreDb, logger });
    shutdown.push('event store', () => store.close());
    const claim = async () => {
      const release = await claimDatabase(connectionString);
      shutdown.push('claim', release);
    };
    return { pool, store, claim, close: () => shutdown.run() };
  } catch (error) {
    await shutdown.run();
    throw error;
  }
}

/** Holds a session of its own for the lock, so that it ends with this process however that ends. */
async function claimDatabase(connectionString: string): Promise<() => Promise<void>> {
  const client = new pg.Client({ connectionString, application_name: 'farebox-claim' });
  // A broken session means that the database went away, which the pool reports; the lock is an aid, the expected revision the fence.
  client.on('error', () => {});
  await client.connect();
  const { rows } = await client.query<{ isClaimed: boolean }>('select pg_try_advisory_lock($1) as "isClaimed"', [SERVING_LOCK]);
  if (rows[0]?.isClaimed === true) return () => client.end();
  await client.end();
  throw new DatabaseInUseError('another Farebox serves this database; stop it first, or use another DATABASE_URL or FAREBOX_DATA_DIR');
}
