/** Two API processes over one Postgres: what one lets in, the other counts. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { describeWithBroker, startTestBroker, type TestBroker } from '../../events/bus/kafka/testing/brokers-for-tests.js';
import { KAFKA_4_VERSION } from '../../platform/kafka/dev-broker.js';
import { createDistributedDeployment, type DistributedDeployment } from '../support/distributed-deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import { writePreset } from '../support/preset-file.js';
import type { ServiceProcess } from '../support/service-process.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';

const BURST = 40;

await describeWithBroker('the limits of two API processes', () => describe('limits of two API processes', describeLimits));

function describeLimits(): void {
  let files: TemporaryDirectory;
  let broker: TestBroker;
  let deployment: DistributedDeployment;
  let second: ServiceProcess;
  let clients: FareboxClient[] = [];

  beforeAll(async () => {
    files = await makeTemporaryDirectory();
    const preset = writePreset(files.path, 'farebox', (offer) => {
      offer.limits = { sliding_window: { requests_per_minute: BURST, burst: BURST }, concurrent_requests: 1_000, headers: ['simple'] };
      offer.plans = { production: { sliding_window: { requests_per_minute: 2 * BURST, burst: 2 * BURST } } };
    });
    broker = await startTestBroker(KAFKA_4_VERSION);
    deployment = await createDistributedDeployment({ broker, preset });
    await deployment.start();
    second = await deployment.anotherApi();
    clients = [deployment.baseUrl, second.url].map((baseUrl) => createFareboxClient({ baseUrl, adminKey: deployment.adminKey }));
  }, 300_000);
  afterAll(async () => {
    for (const one of clients) one.close();
    await second?.stop();
    await deployment?.dispose();
    await broker?.dispose();
    await files?.remove();
  }, 120_000);

  const client = (index: number) => clients[index % clients.length] as FareboxClient;

  /** Calls at both processes in turn, all at once; returns how many were answered. */
  async function answered(key: string, calls: number): Promise<number> {
    const answers = await Promise.all(Array.from({ length: calls }, (_, n) => client(n).call('/v1/balance', { key })));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 429]));
    for (const { status, headers } of answers) {
      expect(headers['x-ratelimit-limit']).toMatch(/^\d+$/);
      expect(headers['retry-after'] === undefined).toBe(status === 200);
    }
    return answers.filter(({ status }) => status === 200).length;
  }

  test('a burst of four times the limit through both is answered exactly as often as one of them would', async () => {
    const { key } = await client(0).signUp('Burst');
    expect(await answered(key, 4 * BURST)).toBe(BURST);
  });

  test('a plan that one process was told of holds in both', async () => {
    const { key, projectId } = await client(0).signUp('Planned');
    const told = await client(1).call(`/v1/admin/projects/${projectId}/plan`, { key: deployment.adminKey, json: { plan: 'production' } });
    expect(told.status).toBe(200);
    expect(await answered(key, 8 * BURST)).toBe(2 * BURST);
  });
}
