/** The ledger's core on a real Postgres, durable: operations and events a second over many accounts and on one, beside raw inserts of the same rows. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Pool } from 'pg';
import { pino } from 'pino';
import type { RecordedEvent } from '../../events/contract/index.js';
import { accountIdOf, makeId } from '../../events/contract/index.js';
import { systemClock } from '../../platform/clock.js';
import { randomIdSource } from '../../platform/id-source.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { AccountLedger } from '../../services/ledger/accounts/account-ledger.js';
import { memorySnapshotStore } from '../../services/ledger/snapshots/snapshot-store.js';
import { PER_RUN, USD } from '../../services/ledger/testing/examples.js';
import { type Database, openDatabase } from '../../services/standalone/database.js';
import { type Figure, median, ratioFigure, type Scenario } from '../support/figures.js';

const CALLERS = 64;
const ACCOUNTS = 1_000;
const ROUNDS = 3;
const ROUND_MS = 4_000;
/** Rows of one raw insert: what 64 callers leave behind when each waits for its own. */
const RAW_BATCH_ROWS = 256;
const RAW_CONNECTIONS = 2;
const OPERATIONS_PER_SECOND_MIN = 20_000;

export const ledgerScenario: Scenario = {
  name: 'ledger',
  async run(say) {
    const directory = mkdtempSync(`${tmpdir()}/farebox-bench-`);
    const database = await openDatabase({ dataDirectory: directory, databaseUrl: undefined, logger: pino({ level: 'warn' }) });
    try {
      return await measure(database, say);
    } finally {
      await database.close();
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

async function measure({ pool, store }: Database, say: (line: string) => void): Promise<Figure[]> {
  const ledger = new AccountLedger({
    store,
    snapshots: memorySnapshotStore(),
    clock: systemClock,
    scheduler: eventLoopScheduler,
    logger: pino({ level: 'warn' }),
  });
  const accounts = Array.from({ length: ACCOUNTS }, (_, n) => accountIdOf(makeId('prj', n, new Uint8Array(10))));
  await drive(ledger, accounts, 1_000);
  const sample = await store.readAll('', 10_000);
  const [many, hot, raw]: [number[], number[], number[]] = [[], [], []];
  for (let turn = 0; turn < ROUNDS; turn += 1) {
    many.push(await drive(ledger, accounts, ROUND_MS));
    hot.push(await drive(ledger, accounts.slice(0, 1), ROUND_MS));
    raw.push(await insertRaw(pool, sample, ROUND_MS));
    say(
      `${Math.round(many.at(-1) ?? 0)} operations/s on ${ACCOUNTS} accounts, ${Math.round(hot.at(-1) ?? 0)} on one; raw inserts ${Math.round(raw.at(-1) ?? 0)} rows/s`,
    );
  }
  const [manyRate, hotRate, rawRate] = [median(many), median(hot), median(raw)];
  return [
    {
      name: `durable ledger operations, ${CALLERS} callers`,
      value: manyRate,
      unit: 'operations/s',
      target: { text: `>= ${OPERATIONS_PER_SECOND_MIN}/s`, isMet: manyRate >= OPERATIONS_PER_SECOND_MIN },
    },
    // A reservation leaves one event, its settlement three: two a command.
    ratioFigure(
      'ledger events',
      manyRate * 2,
      'events/s',
      { name: `raw inserts of ${RAW_BATCH_ROWS} rows`, value: rawRate },
      { ratioMin: 0.25 },
    ),
    ratioFigure('one hot account', hotRate, 'operations/s', { name: `${ACCOUNTS} accounts`, value: manyRate }, { ratioMin: 0.5 }),
  ];
}

/** Callers that each reserve, wait, settle, wait. Returns commands per second. */
async function drive(ledger: AccountLedger, accounts: readonly string[], durationMs: number): Promise<number> {
  const ids = randomIdSource(systemClock);
  const startedMs = performance.now();
  const endMs = startedMs + durationMs;
  let operations = 0;
  const caller = async (n: number) => {
    for (let turn = n; performance.now() < endMs; turn += CALLERS) {
      const accountId = accounts[turn % accounts.length] as string;
      const runId = ids.next('run');
      const reserved = await ledger.submit({ type: 'ReserveCredit', accountId, runId, ...RESERVATION, deadlineMs: Date.now() + 60_000 });
      if (reserved.kind !== 'accepted') throw new Error(`not reserved: ${JSON.stringify(reserved.refusal)}`);
      await ledger.submit({ type: 'SettleReservation', accountId, runId, ...RESULT });
      operations += 2;
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, (_, n) => caller(n)));
  return operations / ((performance.now() - startedMs) / 1_000);
}

const RESERVATION = {
  opening: { holder: { kind: 'project', projectId: 'prj_bench' }, unit: 'USD', environment: 'live', starterNanos: 1_000_000n * USD },
  keyId: 'key_bench',
  model: 'model',
  priceVersion: 'bench',
  terms: PER_RUN,
  promptTokensMax: 100,
  outputTokensMax: 1_000,
  outputTokensExplicit: false,
  cancelPolicy: 'charge_generated',
} as const;

const RESULT = {
  outcome: 'completed',
  finishReason: 'stop',
  usage: { promptTokens: 20, cachedTokens: 0, completionTokens: 30 },
  errorCode: null,
  attempt: 1,
} as const;

/** The same rows without a ledger: batched `unnest` inserts into a table with the same columns and key, durable as well. */
async function insertRaw(pool: Pool, sample: readonly RecordedEvent[], durationMs: number): Promise<number> {
  await pool.query(`drop table if exists raw_events`);
  await pool.query(
    `create table raw_events (transaction_id xid8 not null default pg_current_xact_id(), stream text not null, revision bigint not null,
       id uuid not null, type text not null, version integer not null, data json not null, metadata json not null, primary key (stream, revision))`,
  );
  const startedMs = performance.now();
  let rows = 0;
  let batch = 0;
  const writer = async () => {
    while (performance.now() < startedMs + durationMs) {
      batch += 1;
      const offset = (batch * RAW_BATCH_ROWS) % Math.max(1, sample.length - RAW_BATCH_ROWS);
      const events = sample.slice(offset, offset + RAW_BATCH_ROWS);
      const revisionBase = batch * 1_000_000;
      await pool.query({
        name: 'bench-raw-insert',
        text: `insert into raw_events (stream, revision, id, type, version, data, metadata)
               select * from unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::integer[], $6::json[], $7::json[])`,
        values: [
          events.map((event) => event.stream),
          events.map((event) => revisionBase + event.revision),
          events.map((event) => event.id),
          events.map((event) => event.type),
          events.map((event) => event.version),
          events.map((event) => JSON.stringify(event.data)),
          events.map((event) => JSON.stringify(event.metadata)),
        ],
      });
      rows += events.length;
    }
  };
  await Promise.all(Array.from({ length: RAW_CONNECTIONS }, writer));
  return rows / ((performance.now() - startedMs) / 1_000);
}
