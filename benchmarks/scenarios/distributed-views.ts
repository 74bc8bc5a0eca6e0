/** How far the views are behind an answer, how fast a burst goes from the event store through relay, broker and projector, and what it takes up. */
import type { Pool } from 'pg';
import { pino } from 'pino';
import { ACCOUNT_EVENTS_TOPIC } from '../../events/contract/index.js';
import { createPostgresEventStore } from '../../events/store/postgres/postgres-event-store.js';
import { makeStreamHistories } from '../../services/projector/testing/histories.js';
import type { DistributedFarebox } from '../support/distributed.js';
import { type Figure, percentile } from '../support/figures.js';
import { startPayingClients } from '../support/paying-clients.js';
import { SettlementWatch } from '../support/settlement-watch.js';

const CLIENTS = 16;
const LAG_MS = 10_000;
const SETTLE_LAG_P99_MS_MAX = 2_000;

/** 40,000 events and the grants: more than relay and projector take in a moment, less than ledgers may stand still for without losing their groups. */
const BURST = { accounts: 400, runsPerAccount: 25 };
/** Of 103 events each: an append takes 4,000 events. */
const BURST_STREAMS_PER_APPEND = 35;
const BURST_TIMEOUT_MS = 120_000;
const LOOK_EVERY_MS = 10;

export async function settleLagFigures(farebox: DistributedFarebox, pool: Pool, say: (line: string) => void): Promise<Figure[]> {
  const keys = [await farebox.payingKey('settle-lag')];
  const lags: number[] = [];
  const watch = new SettlementWatch(pool, ({ sinceMs, seenMs }) => lags.push(seenMs - sinceMs));
  const onAsked = ({ runId, endedMs }: { runId: string | null; endedMs: number }) => {
    if (runId !== null) watch.expect(runId, endedMs);
  };
  const clients = startPayingClients({ baseUrl: farebox.baseUrl, keys, clients: CLIENTS, onAsked });
  await pause(LAG_MS);
  await clients.stop();
  await until(async () => watch.missing === 0);
  await watch.stop();
  const [p50, p99] = [percentile(lags, 0.5), percentile(lags, 0.99)];
  say(`settle lag of ${lags.length} requests: p50 ${p50.toFixed(1)} p99 ${p99.toFixed(1)} ms`);
  return [
    { name: `settle lag p50, ${CLIENTS} clients`, value: p50, unit: 'ms' },
    {
      name: `settle lag p99, ${CLIENTS} clients`,
      value: p99,
      unit: 'ms',
      target: { text: `<= ${SETTLE_LAG_P99_MS_MAX} ms`, isMet: p99 <= SETTLE_LAG_P99_MS_MAX },
    },
  ];
}

/** The ledgers stand still while the burst is appended, so that all of it waits for the relay when the clock starts. */
export async function relayFigures(farebox: DistributedFarebox, pool: Pool, say: (line: string) => void): Promise<Figure[]> {
  const store = createPostgresEventStore({ pool, logger: pino({ level: 'silent' }) });
  const histories = makeStreamHistories(BURST);
  const events = histories.reduce((sum, history) => sum + history.events.length, 0);
  const before = await sizesOf(farebox, pool);
  const cpuBefore = farebox.cpuMs();
  for (const ledger of farebox.ledgers) ledger.signal('SIGSTOP');
  try {
    const appends = histories.map(({ stream, events: all }) => ({ stream, expectedRevision: -1, events: all }));
    for (let first = 0; first < appends.length; first += BURST_STREAMS_PER_APPEND)
      await store.append(appends.slice(first, first + BURST_STREAMS_PER_APPEND));
  } finally {
    for (const ledger of farebox.ledgers) ledger.signal('SIGCONT');
  }
  const cpuAtStart = farebox.cpuMs();
  const startMs = performance.now();
  const beganAt = await relayPosition(pool);
  const begun = until(async () => (await relayPosition(pool)) !== beganAt).then(() => performance.now() - startMs);
  const relayed = until(async () => isRelayed(pool)).then(() => performance.now() - startMs);
  const viewed = until(async () => (await viewedEvents(pool)) >= before.viewedEvents + events).then(() => performance.now() - startMs);
  const [begunMs, relayedMs, viewedMs] = await Promise.all([begun, relayed, viewed]);
  await store.close();
  const after = await sizesOf(farebox, pool);
  const cpu = [...farebox.cpuMs()].map(([name, ms]) => ({ name, ms: ms - (cpuAtStart.get(name) ?? 0) })).filter(({ ms }) => ms > 0);
  say(
    `${events} events: relayed in ${Math.round(relayedMs)} ms, the first of them after ${Math.round(begunMs)} ms, in the views after ${Math.round(viewedMs)} ms`,
  );
  say(`Postgres used ${Math.round((cpuAtStart.get('Postgres') ?? 0) - (cpuBefore.get('Postgres') ?? 0))} ms to append them`);
  const perEvent = (name: 'storeBytes' | 'viewBytes' | 'topicBytes') => (after[name] - before[name]) / events;
  return [
    { name: 'store to broker, a burst', value: (events / relayedMs) * 1_000, unit: 'events/s' },
    { name: 'store to views, a burst', value: (events / viewedMs) * 1_000, unit: 'events/s' },
    ...cpu.map(({ name, ms }) => ({ name: `CPU of an event to the views: ${name}`, value: (ms * 1_000) / events, unit: 'us' })),
    { name: 'event store, an event', value: perEvent('storeBytes'), unit: 'bytes' },
    { name: 'views, an event', value: perEvent('viewBytes'), unit: 'bytes' },
    { name: 'account-events topic, an event', value: perEvent('topicBytes'), unit: 'bytes' },
  ];
}

type Sizes = { readonly storeBytes: number; readonly viewBytes: number; readonly topicBytes: number; readonly viewedEvents: number };

async function sizesOf(farebox: DistributedFarebox, pool: Pool): Promise<Sizes> {
  const bytesOf = async (schema: string) => {
    const { rows } = await pool.query<{ bytes: string }>(
      "select coalesce(sum(pg_total_relation_size(c.oid)), 0) as bytes from pg_class c where c.relkind = 'r' and c.relnamespace = $1::regnamespace",
      [schema],
    );
    return Number(rows[0]?.bytes);
  };
  return {
    storeBytes: await bytesOf('event_store'),
    viewBytes: await bytesOf('read_model'),
    topicBytes: farebox.topicBytes(ACCOUNT_EVENTS_TOPIC),
    viewedEvents: await viewedEvents(pool),
  };
}

async function viewedEvents(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ events: string }>("select events from read_model.checkpoints where projection = 'read_model'");
  return Number(rows[0]?.events ?? 0);
}

async function relayPosition(pool: Pool): Promise<string> {
  const { rows } = await pool.query<{ position: string }>("select position from relay.checkpoints where relay = 'postgres'");
  return rows[0]?.position ?? '';
}

/** The relay's checkpoint stands at the last event of the log. */
async function isRelayed(pool: Pool): Promise<boolean> {
  const position = await relayPosition(pool);
  const store = createPostgresEventStore({ pool, logger: pino({ level: 'silent' }) });
  try {
    return (await store.readAll(position, 1)).length === 0;
  } finally {
    await store.close();
  }
}

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + BURST_TIMEOUT_MS;
  while (!(await isTrue())) {
    if (performance.now() > deadlineMs) throw new Error(`the views have not caught up after ${BURST_TIMEOUT_MS} ms`);
    await pause(LOOK_EVERY_MS);
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
