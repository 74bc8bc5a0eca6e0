/** The database behind a deployment: what was really written, past the API. */
import pg from 'pg';
import { pino } from 'pino';
import type { EventStore } from '../../events/store/event-store.js';
import { createPostgresEventStore } from '../../events/store/postgres/postgres-event-store.js';
import { pagesOf } from '../../services/projector/rebuild.js';
import { type Verification, verifyReadModel } from '../../services/projector/verify.js';

const CONNECTIONS_MAX = 2;
const LOG_PAGE_EVENTS = 1_000;

/** A run as the views know it. Amounts are nanos. */
export type BookedRun = {
  readonly runId: string;
  readonly accountId: string;
  readonly status: string;
  readonly heldNanos: bigint;
  readonly chargedNanos: bigint | null;
  readonly refundedNanos: bigint | null;
};

export type Books = {
  readonly pool: pg.Pool;
  /** Compares the views with the log, as `farebox verify` does. */
  verify(): Promise<Verification>;
  runs(): Promise<ReadonlyMap<string, BookedRun>>;
  /** Nanos that the log says were charged to accounts of the project, consumers included. */
  chargedNanos(projectId: string): Promise<bigint>;
  /** Holds of the log that have not ended, by run id. */
  openHolds(): Promise<readonly string[]>;
  /** Runs of the log with more than one end, or whose charge and refund do not make up their hold. */
  brokenRuns(): Promise<readonly string[]>;
  /** Whether the event store holds all of `eventIds`. */
  holdsEvents(eventIds: readonly string[]): Promise<boolean>;
  /** Every row of every table of `schemas`, as text. */
  dump(schemas: readonly string[]): Promise<string>;
  close(): Promise<void>;
};

const OPEN_HOLDS_SQL = `
  select data->>'runId' as run from event_store.events where type = 'CreditReserved'
  except select data->>'runId' from event_store.events where type = 'ReservationSettled'`;

const BROKEN_RUNS_SQL = `
  select data->>'runId' as run
  from event_store.events
  where type in ('CreditReserved', 'UsageRecorded', 'CreditRefunded', 'ReservationSettled')
  group by 1
  having count(*) filter (where type = 'CreditReserved') <> 1
    or count(*) filter (where type = 'ReservationSettled') > 1
    or count(*) filter (where type = 'UsageRecorded') > 1
    or count(*) filter (where type = 'CreditRefunded') > 1`;

/** `where` names the database: of the embedded server, or one that the deployment was given. `otherStore`: the log, where it is not in there. */
export async function openBooks(where: pg.PoolConfig, otherStore?: EventStore): Promise<Books> {
  const pool = new pg.Pool({ ...where, max: CONNECTIONS_MAX });
  // The server may be killed by the test.
  pool.on('error', () => {});
  const store = otherStore ?? createPostgresEventStore({ pool, logger: pino({ level: 'silent' }) });
  const firstColumn = async (sql: string, values: readonly unknown[] = []) => {
    const { rows } = await pool.query<string[]>({ text: sql, values: [...values], rowMode: 'array' });
    return rows.map((row) => row[0] ?? '');
  };
  return {
    pool,
    verify: () => verifyReadModel(pool, store),
    runs: () => readRuns(pool),
    chargedNanos: async (projectId) => {
      const sql = 'select coalesce(sum(charged_nanos), 0)::text from read_model.account_balances where project_id = $1';
      return BigInt((await firstColumn(sql, [projectId]))[0] ?? '0');
    },
    openHolds: () => firstColumn(OPEN_HOLDS_SQL),
    brokenRuns: () => firstColumn(BROKEN_RUNS_SQL),
    holdsEvents: async (eventIds) => {
      const missing = new Set(eventIds);
      for await (const page of pagesOf(store, LOG_PAGE_EVENTS)) for (const { id } of page) missing.delete(id);
      return missing.size === 0;
    },
    dump: (schemas) => dump(pool, schemas),
    close: async () => {
      await store.close();
      await pool.end();
    },
  };
}

async function readRuns(pool: pg.Pool): Promise<ReadonlyMap<string, BookedRun>> {
  const { rows } = await pool.query<Record<string, string | null>>(
    `select run_id, account_id, status, held_nanos::text, charged_nanos::text, refunded_nanos::text from read_model.requests`,
  );
  const amount = (text: string | null | undefined) => (text === null || text === undefined ? null : BigInt(text));
  return new Map(
    rows.map((row) => [
      row['run_id'] ?? '',
      {
        runId: row['run_id'] ?? '',
        accountId: row['account_id'] ?? '',
        status: row['status'] ?? '',
        heldNanos: amount(row['held_nanos']) ?? 0n,
        chargedNanos: amount(row['charged_nanos']),
        refundedNanos: amount(row['refunded_nanos']),
      },
    ]),
  );
}

async function dump(pool: pg.Pool, schemas: readonly string[]): Promise<string> {
  const { rows: tables } = await pool.query<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = any($1)`,
    [schemas],
  );
  const texts: string[] = [];
  for (const { name } of tables) {
    const { rows } = await pool.query<{ row: string }>(`select t::text as row from ${name} t`);
    texts.push(name, ...rows.map(({ row }) => row));
  }
  return texts.join('\n');
}
