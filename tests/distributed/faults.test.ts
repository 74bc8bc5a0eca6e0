/**
 * One process after the other is killed under load, and the broker is stopped: what was acknowledged is in the books, nothing is charged twice,
 * no hold is stranded, and the service goes on by itself.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { describeWithBroker, startTestBroker, type TestBroker } from '../../events/bus/kafka/testing/brokers-for-tests.js';
import { KAFKA_4_VERSION } from '../../platform/kafka/dev-broker.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../platform/postgres/embedded.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { createDistributedDeployment, type DistributedDeployment } from '../support/distributed-deployment.js';
import { type DistributedLoad, distributedLoad, LOAD_MODEL, RECOVERY_MS_MAX } from '../support/distributed-load.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import { liftLimits, writePreset } from '../support/preset-file.js';
import { signalTree } from '../support/process-tree.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';

/** So that a hold whose run nobody has heard of expires while the test waits. */
const RUN_TIMEOUT_SECONDS = 10;
const BURST_CALLS = 200;
/** The starter credit of 0.05 at 0.001 a run. */
const BURST_AFFORDABLE = 50;

await describeWithBroker('the distributed faults', () => describe('the distributed deployment under load', describeFaults));

function describeFaults(): void {
  let files: TemporaryDirectory;
  let broker: TestBroker;
  let postgres: EmbeddedPostgres;
  let deployment: DistributedDeployment;
  let client: FareboxClient;
  let load: DistributedLoad | null = null;

  beforeAll(async () => {
    files = await makeTemporaryDirectory();
    const preset = writePreset(files.path, 'farebox', (offer) => {
      liftLimits(offer);
      offer.starter_credit.project = '1000';
      offer.starter_credit.consumer = '0.05';
      offer.policies.run_timeout_seconds = RUN_TIMEOUT_SECONDS;
    });
    broker = await startTestBroker(KAFKA_4_VERSION);
    postgres = await startEmbeddedPostgres({ dataDirectory: files.path, logger: pino({ level: 'silent' }) });
    deployment = await createDistributedDeployment({ broker, preset, databaseUrl: postgres.connectionString });
    await deployment.start();
    client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: LOAD_MODEL });
  }, 300_000);
  afterEach(async () => {
    await load?.dispose();
    load = null;
  });
  afterAll(async () => {
    client?.close();
    await deployment?.dispose();
    await postgres?.stop();
    await broker?.dispose();
    await files?.remove();
  }, 120_000);

  async function loaded(): Promise<DistributedLoad> {
    load = await distributedLoad(deployment);
    return load;
  }

  /** 0 while there is none. */
  const postmasterPid = (): number => {
    try {
      const [pid] = readFileSync(join(files.path, 'postgres', 'postmaster.pid'), 'utf8').split('\n');
      return Number(pid);
    } catch {
      return 0;
    }
  };

  test('a worker killed: its runs are tried elsewhere, and another takes over', async () => {
    const running = await loaded();
    await deployment.workers[0]?.kill();
    await running.answersMore();
    deployment.workers[0] = deployment.spawn('inference');
    await deployment.workers[0].ready();
    await running.answersMore();
    await running.expectNothingLost();
  });

  test('two hundred calls at once over two APIs and two ledgers on credit for fifty, by a consumer who was not there: exactly fifty run', async () => {
    const { key } = await client.signUp('burst');
    const second = await deployment.anotherApi();
    const other = createFareboxClient({ baseUrl: second.url, adminKey: deployment.adminKey, model: LOAD_MODEL });
    try {
      const calls = Array.from({ length: BURST_CALLS }, (_, n) =>
        (n % 2 === 0 ? client : other).chat(key, {}, [['X-Consumer-Email', 'brand-new@example.com']]),
      );
      const answers = await Promise.all(calls);
      const count = (status: number) => answers.filter((answer) => answer.status === status).length;
      expect([count(200), count(402)]).toEqual([BURST_AFFORDABLE, BURST_CALLS - BURST_AFFORDABLE]);
      const hasCaughtUp = async () => (await client.call('/v1/consumers', { key })).body.data[0]?.balance === '0';
      await waitFor(hasCaughtUp, { describe: 'the consumer to have spent all' });
    } finally {
      other.close();
      await second.stop();
    }
  });

  test.each([0, 1])('ledger %i killed and started again: the other serves its accounts, settles its runs and relays', async (index) => {
    const running = await loaded();
    await deployment.ledgers[index]?.kill();
    await running.answersMore();
    await deployment.restartLedger(index);
    await running.answersMore();
    await running.expectNothingLost();
  });

  test('a ledger frozen and thawed: the fence keeps what it still had in hand from being written twice', async () => {
    const running = await loaded();
    deployment.ledgers[0]?.signal('SIGSTOP');
    await running.answersMore();
    deployment.ledgers[0]?.signal('SIGCONT');
    await running.answersMore();
    await running.expectNothingLost();
  });

  test('a worker frozen and thawed: its runs were tried elsewhere, and what it still says counts for nothing', async () => {
    const running = await loaded();
    deployment.workers[0]?.signal('SIGSTOP');
    await running.answersMore();
    deployment.workers[0]?.signal('SIGCONT');
    await running.answersMore();
    await running.expectNothingLost();
  });

  test('a worker that joins in the middle of runs, and one that leaves in order: nothing fails', async () => {
    const running = await loaded();
    const joining = deployment.spawn('inference');
    await joining.ready();
    await running.answersMore();
    expect(await joining.stop()).toBe(0);
    await running.answersMore();
    await running.expectNothingLost();
    expect(running.load.attempts.filter(({ ending }) => ending !== 'answered')).toEqual([]);
  });

  test('the projector killed and started again: the views catch up', async () => {
    const running = await loaded();
    await deployment.projector.kill();
    await running.answersMore();
    await deployment.restartProjector();
    await running.expectNothingLost();
  });

  test('an API killed: its runs are settled without it', async () => {
    const running = await loaded();
    await deployment.api.kill();
    await waitFor(() => running.load.attempts.some(({ ending }) => ending === 'broken'), { describe: 'clients to notice' });
    await deployment.restartApi();
    await running.answersMore();
    await running.expectNothingLost();
  });

  test('Postgres killed: it comes back, and so does everybody', async () => {
    const running = await loaded();
    const before = postmasterPid();
    signalTree(before, 'SIGKILL');
    const isBack = () => postmasterPid() !== 0 && postmasterPid() !== before;
    await waitFor(isBack, { timeoutMs: RECOVERY_MS_MAX, describe: 'another postmaster' });
    await running.answersMore();
    await running.expectNothingLost();
  });

  test('the broker stopped and started again: refused meanwhile, and it says so', async () => {
    const running = await loaded();
    await broker.stop();
    const notReady = async () => (await client.call('/readyz')).status === 503;
    await waitFor(notReady, { timeoutMs: RECOVERY_MS_MAX, describe: 'readiness to say so' });
    const isRefused = async () => {
      const answer = await client.chat(await deployment.demoKey());
      return answer.status === 503;
    };
    await waitFor(isRefused, { timeoutMs: RECOVERY_MS_MAX, describe: 'a new request to be refused' });
    await broker.start();
    await running.answersMore();
    await running.expectNothingLost();
    expect((await client.call('/readyz')).status).toBe(200);
  });
}
