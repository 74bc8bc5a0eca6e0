/** Rebuilding all views from the log, beside COPY of as many event rows into a plain table. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Pool } from 'pg';
import { pino } from 'pino';
import type { EventStore } from '../../events/store/event-store.js';
import { inTransaction } from '../../platform/postgres/transactions.js';
import { bulkCopy } from '../../services/projector/postgres/bulk-copy.js';
import { rebuildReadModel } from '../../services/projector/rebuild.js';
import { makeStreamHistories } from '../../services/projector/testing/histories.js';
import { openDatabase } from '../../services/standalone/database.js';
import { median, ratioFigure, type Scenario } from '../support/figures.js';

const ACCOUNTS = 1_000;
const RUNS_PER_ACCOUNT = 100;
const ROUNDS = 3;
const EVENTS_PER_SECOND_MIN = 150_000;
const PIECE_EVENTS = 20;
const STREAMS_PER_APPEND = 100;

export const rebuildScenario: Scenario = {
  name: 'rebuild',
  async run(say) {
    const directory = mkdtempSync(`${tmpdir()}/farebox-bench-`);
    const logger = pino({ level: 'warn' });
    const { pool, store, close } = await openDatabase({ dataDirectory: directory, databaseUrl: undefined, logger });
    try {
      await fill(store);
      const [rebuilt, copied]: [number[], number[]] = [[], []];
      for (let turn = 0; turn < ROUNDS; turn += 1) {
        const { events, durationMs } = await rebuildReadModel({ pool, store, logger, nowMs: () => performance.now() });
        rebuilt.push((events / durationMs) * 1_000);
        copied.push(await copyEvents(pool, store));
        say(`${Math.round(rebuilt.at(-1) ?? 0)} events/s rebuilt (${events} events), COPY ${Math.round(copied.at(-1) ?? 0)} rows/s`);
      }
      const rate = median(rebuilt);
      return [
        {
          ...ratioFigure('rebuild of all views', rate, 'events/s', { name: 'COPY of the event rows', value: median(copied) }),
          target: { text: `>= ${EVENTS_PER_SECOND_MIN}/s`, isMet: rate >= EVENTS_PER_SECOND_MIN },
        },
      ];
    } finally {
      await close();
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

async function fill(store: EventStore): Promise<void> {
  const histories = makeStreamHistories({ accounts: ACCOUNTS, runsPerAccount: RUNS_PER_ACCOUNT });
  for (let from = 0; ; from += PIECE_EVENTS) {
    const appends = histories
      .map(({ stream, events }) => ({ stream, expectedRevision: from - 1, events: events.slice(from, from + PIECE_EVENTS) }))
      .filter(({ events }) => events.length > 0);
    if (appends.length === 0) return;
    for (let first = 0; first < appends.length; first += STREAMS_PER_APPEND)
      await store.append(appends.slice(first, first + STREAMS_PER_APPEND));
  }
}

async function copyEvents(pool: Pool, store: EventStore): Promise<number> {
  const sample = await store.readAll('', 10_000);
  const rows = sample.map((event) => ({ ...event, body: JSON.stringify(event.data), meta: JSON.stringify(event.metadata) }));
  await pool.query('drop table if exists copied_events');
  await pool.query(
    'create table copied_events (stream text not null, revision bigint not null, id uuid not null, type text not null, data json not null, metadata json not null)',
  );
  const total = ACCOUNTS * RUNS_PER_ACCOUNT * 4;
  const startedMs = performance.now();
  await inTransaction(pool, async (client) => {
    const copy = bulkCopy<(typeof rows)[number]>(client, 'copied_events', [
      { name: 'stream', type: 'text', text: (row) => row.stream },
      { name: 'revision', type: 'bigint', text: (row) => row.revision.toString() },
      { name: 'id', type: 'uuid', text: (row) => row.id },
      { name: 'type', type: 'text', text: (row) => row.type },
      { name: 'data', type: 'text', text: (row) => row.body },
      { name: 'metadata', type: 'text', text: (row) => row.meta },
    ]);
    for (let written = 0; written < total; written += rows.length) await copy.write(rows);
    await copy.end();
  });
  return total / ((performance.now() - startedMs) / 1_000);
}
