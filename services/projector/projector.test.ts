/** The live projection from store to rows: restarts, redelivery, trouble, and what it tells of itself. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Registry } from 'prom-client';
import { InProcessBus } from '../../events/bus/in-process/in-process-bus.js';
import { ACCOUNT_EVENTS_TOPIC, type RecordedEvent } from '../../events/contract/index.js';
import { startRelay } from '../../events/relay/relay.js';
import { messageOfEvent } from '../../events/relay/relayed-event.js';
import type { EventStore } from '../../events/store/event-store.js';
import type { Clock } from '../../platform/clock.js';
import { createMetrics } from '../../platform/metrics.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import type { TestDatabase } from '../../platform/testing/postgres-for-tests.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { RevisionGapError } from './domain/read-model-changes.js';
import { createPagePacing, PAGE_INTERVAL_MIN_MS } from './page-pacing.js';
import { applyLivePage } from './postgres/apply-page.js';
import { type AppliedRevision, PROJECTOR_GROUP, type ProjectorOptions, projectionCheckpoint, startProjector } from './projector.js';
import { rebuildReadModel } from './rebuild.js';
import { makeLog } from './testing/histories.js';
import { emptyViews, openProjectorDatabase, readViews, silent, storeWith } from './testing/projector-database.js';
import { verifyReadModel } from './verify.js';

const HISTORY = { accounts: 4, runsPerAccount: 8, openRuns: 1, overlap: 1 };

let database: TestDatabase;
const releasers: (() => Promise<unknown>)[] = [];
beforeEach(async () => {
  database = await openProjectorDatabase();
});
afterEach(async () => {
  for (const release of releasers.splice(0).reverse()) await release();
  await database.drop();
});

async function startBoth(overrides: Partial<ProjectorOptions> = {}, store?: EventStore) {
  const bus = new InProcessBus({ scheduler: eventLoopScheduler });
  const metrics = createMetrics();
  const clock: Clock = { nowMs: () => 1_800_000_000_000 };
  const waitingEvents = () => bus.waiting(ACCOUNT_EVENTS_TOPIC, PROJECTOR_GROUP);
  const projector = await startProjector({ pool: database.pool, bus, clock, logger: silent, metrics, waitingEvents, ...overrides });
  releasers.push(
    () => bus.close(),
    () => projector.stop(),
  );
  const stopRelay = async () => relay?.stop();
  const checkpoints = { load: () => projectionCheckpoint(database.pool), save: () => Promise.resolve() };
  const relay = store === undefined ? null : await startRelay({ store, bus, checkpoints, onError: () => {} });
  releasers.push(stopRelay);
  const publish = (events: readonly RecordedEvent[]) =>
    bus.publish(
      ACCOUNT_EVENTS_TOPIC,
      events.map(messageOfEvent).filter((message) => message !== null),
    );
  const stop = async () => {
    await stopRelay();
    await projector.stop();
    await bus.close();
  };
  return { bus, projector, metrics, publish, stop };
}

const reaches = (projector: { position(): string }, position: string) =>
  waitFor(() => projector.position() === position, { describe: () => `${position}; the views are at ${projector.position()}` });

async function gauge(metrics: Registry, name: string): Promise<number | undefined> {
  return (await metrics.getSingleMetric(name)?.get())?.values[0]?.value;
}

test('what the store holds is in the views, also after restarts of everything that forgets', async () => {
  const store = await storeWith({ ...HISTORY, runsPerAccount: 3 });
  const first = await startBoth({}, store);
  await reaches(first.projector, await store.head());
  await first.stop();

  const longer = await storeWith(HISTORY);
  const second = await startBoth({}, longer);
  await reaches(second.projector, await longer.head());
  await second.stop();
  const restarted = await readViews(database.pool);
  expect((await verifyReadModel(database.pool, longer)).discrepancies).toEqual([]);

  await emptyViews(database.pool);
  await applyLivePage(database.pool, await longer.readAll('', 10_000));
  expect(restarted).toEqual(await readViews(database.pool));
});

test('messages delivered twice and late change nothing', async () => {
  const log = makeLog(HISTORY);
  const { projector, publish } = await startBoth();
  for (let from = 0; from < log.length; from += 10) {
    await publish(log.slice(Math.max(0, from - 15), from + 10));
    await publish(log.slice(Math.max(0, from - 30), from));
  }
  await reaches(projector, log.at(-1)?.position ?? '');
  const noisy = await readViews(database.pool);
  await emptyViews(database.pool);
  await applyLivePage(database.pool, log);
  expect(noisy).toEqual(await readViews(database.pool));
});

test('readers in the process are told which revisions have become visible, and cannot harm the projection', async () => {
  const log = makeLog(HISTORY);
  const told: AppliedRevision[] = [];
  const { projector, publish } = await startBoth({
    onApplied: (revisions) => {
      told.push(...revisions);
      throw new Error('a careless listener');
    },
  });
  await publish(log.slice(0, 40));
  await reaches(projector, log[39]?.position ?? '');
  await publish(log.slice(20, 60));
  await reaches(projector, log[59]?.position ?? '');
  const newest = new Map(told.map(({ accountId, revision }) => [accountId, revision]));
  const expected = new Map(log.slice(0, 60).map((event) => [event.data['accountId'], event.revision]));
  expect(newest).toEqual(expected);
});

describe('trouble', () => {
  test('a missing event stops the views loudly, and a rebuild heals them', async () => {
    const store = await storeWith(HISTORY);
    const log = await store.readAll('', 10_000);
    const lost = log[50] as RecordedEvent;
    const { projector, publish, metrics, bus } = await startBoth();
    await publish(log.slice(0, 40));
    await reaches(projector, log[39]?.position ?? '');
    expect(await gauge(metrics, 'farebox_projection_lag_seconds')).toBe(0);

    await publish(log.slice(40).filter((event) => event !== lost));
    const failure = await waitFor(() => projector.failure(), { describe: 'the failure' });
    expect(failure).toBeInstanceOf(RevisionGapError);
    expect(projector.position()).toBe(log[39]?.position);
    expect(await gauge(metrics, 'farebox_projection_lag_events')).toBe(log.length - 41);
    expect(await gauge(metrics, 'farebox_projection_lag_seconds')).toBe(
      (1_800_000_000_000 - (log[40]?.metadata.occurredAtMs ?? 0)) / 1_000,
    );

    await rebuildReadModel({ pool: database.pool, store, logger: silent, nowMs: Date.now });
    await waitFor(() => projector.failure() === null && bus.waiting(ACCOUNT_EVENTS_TOPIC, PROJECTOR_GROUP) === 0, { describe: 'health' });
    expect(projector.position()).toBe(log.at(-1)?.position);
    expect(await gauge(metrics, 'farebox_projection_lag_seconds')).toBe(0);
    expect((await verifyReadModel(database.pool, store)).discrepancies).toEqual([]);
  });

  test('a database that ends the connection costs a retry, not an event', async () => {
    const store = await storeWith(HISTORY);
    const log = await store.readAll('', 10_000);
    const { projector, publish } = await startBoth();
    for (let from = 0; from < log.length; from += 8) {
      await publish(log.slice(from, from + 8));
      await database.pool.query(
        'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
      );
    }
    await reaches(projector, log.at(-1)?.position ?? '');
    expect((await verifyReadModel(database.pool, store)).discrepancies).toEqual([]);
  });
});

test('the gauges say where the views stand', async () => {
  const log = makeLog(HISTORY);
  const { projector, publish, metrics } = await startBoth();
  await publish(log);
  await reaches(projector, log.at(-1)?.position ?? '');
  expect(await gauge(metrics, 'farebox_projected_events_total')).toBe(log.length);
  const position = await metrics.getSingleMetric('farebox_projection_position')?.get();
  expect(position?.values).toEqual([expect.objectContaining({ labels: { position: log.at(-1)?.position }, value: 1 })]);
});

describe('pacing', () => {
  function paced() {
    let nowMs = 0;
    const delays: number[] = [];
    const scheduler = {
      defer: (work: () => void) => work(),
      delay: (work: () => void, delayMs: number) => {
        delays.push(delayMs);
        nowMs += delayMs;
        work();
        return () => {};
      },
    };
    const pacing = createPagePacing({ scheduler, monotonicNowMs: () => nowMs });
    const page = async (gapMs: number, durationMs: number) => {
      nowMs += gapMs;
      pacing.begin();
      nowMs += durationMs;
      await pacing.pause();
    };
    return { pacing, delays, page };
  }

  test('a few pages in a row are not delayed, a stream of them is', async () => {
    const { delays, page } = paced();
    for (let n = 0; n < 6; n += 1) await page(1, 3);
    expect(delays).toEqual([17, 17, 17].map(() => PAGE_INTERVAL_MIN_MS - 3));
  });

  test('pages that come apart, or take long by themselves, are not delayed', async () => {
    const { delays, page } = paced();
    for (let n = 0; n < 10; n += 1) await page(PAGE_INTERVAL_MIN_MS, 3);
    for (let n = 0; n < 10; n += 1) await page(1, PAGE_INTERVAL_MIN_MS + 5);
    expect(delays).toEqual([]);
  });

  test('an end is not delayed either', async () => {
    const { pacing, delays, page } = paced();
    pacing.end();
    for (let n = 0; n < 10; n += 1) await page(1, 3);
    expect(delays).toEqual([]);
  });
});
