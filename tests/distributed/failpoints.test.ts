/**
 * Each process dies, or stands still, right before and right after each piece of its I/O, under load. Afterwards what was acknowledged is in the
 * books, nothing is charged twice, no hold is stranded, and the service goes on.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { describeWithBroker, startTestBroker, type TestBroker } from '../../events/bus/kafka/testing/brokers-for-tests.js';
import { KAFKA_4_VERSION } from '../../platform/kafka/dev-broker.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { createDistributedDeployment, type DistributedDeployment } from '../support/distributed-deployment.js';
import { type DistributedLoad, distributedLoad } from '../support/distributed-load.js';
import { liftLimits, writePreset } from '../support/preset-file.js';
import type { ServiceProcess } from '../support/service-process.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';

/** So that a hold whose run nobody has heard of expires while the test waits. */
const RUN_TIMEOUT_SECONDS = 10;
const DEATH_MS_MAX = 60_000;

const aroundEach = (...points: string[]) => points.flatMap((point) => [`${point}.before`, `${point}.after`]);
const LEDGER_POINTS = aroundEach('store.append.CreditReserved', 'store.append.ReservationSettled', 'bus.publish.RunSettled');
/** What the relay publishes: it dies between the store and the bus. */
const RELAY_POINTS = aroundEach('bus.publish.CreditReserved');
const WORKER_POINTS = ['bus.publish.RunStarted.after', ...aroundEach('bus.publish.RunOutput', 'bus.publish.RunFinished')];
const API_POINTS = aroundEach('bus.publish.RunRequested');

await describeWithBroker('the distributed failpoints', () => describe('the distributed deployment, at', describeFailpoints));

function describeFailpoints(): void {
  let files: TemporaryDirectory;
  let broker: TestBroker;
  let deployment: DistributedDeployment;
  let load: DistributedLoad | null = null;

  beforeAll(async () => {
    files = await makeTemporaryDirectory();
    const preset = writePreset(files.path, 'farebox', (offer) => {
      liftLimits(offer);
      offer.starter_credit.project = '1000';
      offer.policies.run_timeout_seconds = RUN_TIMEOUT_SECONDS;
    });
    broker = await startTestBroker(KAFKA_4_VERSION);
    deployment = await createDistributedDeployment({ broker, preset });
    await deployment.start();
  }, 300_000);
  afterEach(async () => {
    await load?.dispose();
    load = null;
  });
  afterAll(async () => {
    await deployment?.dispose();
    await broker?.dispose();
    await files?.remove();
  }, 120_000);

  /** The process has the failpoint: load until it strikes, then see that everything goes on. `again` starts it without. */
  async function strike(stricken: () => ServiceProcess, again: () => Promise<void>): Promise<void> {
    load = await distributedLoad(deployment);
    await waitFor(() => !stricken().isRunning(), { timeoutMs: DEATH_MS_MAX, describe: 'the death' });
    await again();
    await load.answersMore();
    await load.expectNothingLost();
  }

  /** The same, standing still instead of dead. `replace`: what an operator does meanwhile; `null` when nothing can go on without it. */
  async function freeze(stricken: () => ServiceProcess, replace: (() => Promise<void>) | null): Promise<void> {
    load = await distributedLoad(deployment);
    await waitFor(() => stricken().isFrozen(), { timeoutMs: DEATH_MS_MAX, describe: 'the process to stand still' });
    if (replace !== null) {
      await replace();
      await load.answersMore();
    }
    stricken().signal('SIGCONT');
    await load.answersMore();
    await load.expectNothingLost();
  }

  const at = (point: string, signal: 'SIGKILL' | 'SIGSTOP' = 'SIGKILL') => ({
    FAREBOX_FAILPOINT: `${point}@5`,
    FAREBOX_FAILPOINT_SIGNAL: signal,
  });
  const ledger = () => deployment.ledgers[0] as ServiceProcess;
  const worker = () => deployment.workers[0] as ServiceProcess;
  const api = () => deployment.api;
  const projector = () => deployment.projector;
  async function isRelaying(one: ServiceProcess): Promise<boolean> {
    return (await (await fetch(`${one.url}/metrics`)).text()).includes('farebox_relay_leading 1');
  }

  /** Alone, so that it is this one that everything comes to. */
  async function startLonelyLedger(environment: Readonly<Record<string, string>>): Promise<void> {
    await Promise.all(deployment.ledgers.map((one) => one.stop()));
    await deployment.restartLedger(0, environment);
  }

  test.each(LEDGER_POINTS)('ledger killed at %s; another takes over', async (point) => {
    await startLonelyLedger(at(point));
    await strike(ledger, () => deployment.restartLedger(1));
    await deployment.restartLedger(0);
  });

  test.each(RELAY_POINTS)('relay killed at %s', async (point) => {
    await startLonelyLedger(at(point));
    await waitFor(() => isRelaying(ledger()), { describe: 'the ledger to relay' });
    await deployment.restartLedger(1);
    await strike(ledger, () => deployment.restartLedger(0));
    await waitFor(() => isRelaying(deployment.ledgers[1] as ServiceProcess), { describe: 'the standby to have taken over' });
  });

  test.each(WORKER_POINTS)('worker killed at %s', async (point) => {
    await worker().stop();
    await deployment.restartWorker(0, at(point));
    await strike(worker, () => deployment.restartWorker(0));
  });

  test.each(API_POINTS)('API killed at %s', async (point) => {
    await api().stop();
    await deployment.restartApi(at(point));
    await strike(api, () => deployment.restartApi());
  });

  test('projector killed after a page', async () => {
    await projector().stop();
    await deployment.restartProjector(at('projector.page.after'));
    await strike(projector, () => deployment.restartProjector());
  });

  test('ledger frozen before it settles, replaced, and thawed: the fence keeps what it had in hand from being written twice', async () => {
    await startLonelyLedger(at('store.append.ReservationSettled.before', 'SIGSTOP'));
    await freeze(ledger, () => deployment.restartLedger(1));
  });

  test('worker frozen before it reports a result', async () => {
    await worker().stop();
    await deployment.restartWorker(0, at('bus.publish.RunFinished.before', 'SIGSTOP'));
    await freeze(worker, async () => {});
  });

  test('projector frozen after a page', async () => {
    await projector().stop();
    await deployment.restartProjector(at('projector.page.after', 'SIGSTOP'));
    await freeze(projector, async () => {});
  });

  test('API frozen when it has handed a run over', async () => {
    await api().stop();
    await deployment.restartApi(at('bus.publish.RunRequested.after', 'SIGSTOP'));
    await freeze(api, null);
  });

  test('the books are in order after all of it', async () => {
    expect((await deployment.openBooksAndVerify()).discrepancies).toEqual([]);
  });
}
