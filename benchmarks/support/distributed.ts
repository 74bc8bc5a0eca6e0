/**
 * The distributed deployment on this machine, as it is measured: an API, two ledgers, a projector and two workers with the echo engine, over a
 * broker and a Postgres of their own. Jars of the broker are kept between runs in `FAREBOX_KAFKA_CACHE`.
 */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { stringify } from 'yaml';
import { kafkaSettingsFromEnvironment } from '../../events/bus/kafka/kafka-bus.js';
import { createTopics, topicPlans } from '../../events/bus/kafka/topics.js';
import { DEFAULT_POOL } from '../../events/contract/index.js';
import { startDevBroker } from '../../platform/kafka/dev-broker.js';
import { PACKAGE_ROOT } from '../../platform/package-root.js';
import { startEmbeddedPostgres } from '../../platform/postgres/embedded.js';
import { freePorts } from '../../platform/testing/free-ports.js';
import { childNamed, cpuMsOf } from './cpu-time.js';
import { unlimitedPreset } from './servers.js';
import { ServiceChild, type ServiceName } from './service-child.js';

const ADMIN_KEY = 'benchmark-admin-key-benchmark';
const LEDGER_SECRET = 'benchmark-ledger-secret-benchmark';
const LEDGERS = 2;
const WORKERS = 2;
/** Does not run out. */
const TOP_UP = '1000000';

export type DistributedServices = {
  readonly api: ServiceChild;
  readonly ledgers: readonly ServiceChild[];
  readonly projector: ServiceChild;
  readonly workers: readonly ServiceChild[];
};

export type DistributedFarebox = DistributedServices & {
  readonly baseUrl: string;
  /** For `pg`. */
  readonly connectionString: string;
  /** The key of a new project whose credit does not run out. */
  payingKey(name: string): Promise<string>;
  /** Milliseconds of processor time so far, by kind of process. */
  cpuMs(): ReadonlyMap<string, number>;
  /** Bytes of a topic's segments on the broker's disk. */
  topicBytes(topic: string): number;
  stop(): Promise<void>;
};

export async function startDistributedFarebox(): Promise<DistributedFarebox> {
  const directory = mkdtempSync(join(tmpdir(), 'farebox-bench-'));
  const brokerDirectory = join(directory, 'kafka');
  const presetFile = join(directory, 'preset.yaml');
  writeFileSync(presetFile, stringify(unlimitedPreset()));
  const logger = pino({ level: 'error' }, pino.destination(2));
  const cacheDirectory = process.env['FAREBOX_KAFKA_CACHE'] ?? fileURLToPath(new URL('.farebox-kafka', PACKAGE_ROOT));
  const database = await startEmbeddedPostgres({ dataDirectory: join(directory, 'data'), logger });
  const broker = await startDevBroker({ directory: brokerDirectory, cacheDirectory, logger });
  const environment = {
    LOG_LEVEL: 'error',
    DATABASE_URL: database.connectionString,
    KAFKA_BROKERS: broker.brokers.join(','),
    FAREBOX_PRESET: presetFile,
    FAREBOX_ENGINE: 'echo',
    FAREBOX_ADMIN_KEY: ADMIN_KEY,
    FAREBOX_LEDGER_SECRET: LEDGER_SECRET,
  };
  await createTopics({
    settings: kafkaSettingsFromEnvironment({ KAFKA_BROKERS: environment.KAFKA_BROKERS }, 'benchmark'),
    plans: topicPlans([DEFAULT_POOL]),
    logger,
  });
  const services = await startServices(environment);
  const pids = pidsOf(services, database.postmasterPid() ?? 0);
  return {
    ...services,
    baseUrl: services.api.url,
    connectionString: database.connectionString,
    payingKey: (name) => payingKey(services.api.url, name),
    cpuMs: () => new Map([...pids()].map(([name, ids]) => [name, ids.reduce((sum, pid) => sum + cpuMsOf(pid), 0)])),
    topicBytes: (topic) => topicBytes(brokerDirectory, topic),
    async stop() {
      await services.api.end('SIGTERM');
      await Promise.all([...services.workers, ...services.ledgers, services.projector].map((service) => service.end('SIGTERM')));
      await broker.kill();
      await database.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function startServices(environment: Readonly<Record<string, string>>): Promise<DistributedServices> {
  const several = (name: ServiceName, count: number) => Array.from({ length: count }, () => new ServiceChild(name, environment));
  const ports = await freePorts(LEDGERS);
  const ledgerUrls = ports.map((port) => `http://127.0.0.1:${port}`);
  const ofLedger = (url: string) => ({ ...environment, LEDGER_URLS: ledgerUrls.join(','), FAREBOX_LEDGER_URL: url });
  const ledgers = ports.map((port, index) => new ServiceChild('ledger', ofLedger(ledgerUrls[index] ?? ''), String(port)));
  const workers = several('inference', WORKERS);
  const projector = new ServiceChild('projector', environment);
  await Promise.all(ledgers.map((ledger) => ledger.listening()));
  const api = new ServiceChild('api', { ...environment, LEDGER_URLS: ledgerUrls.join(',') });
  await Promise.all([...ledgers, ...workers, projector, api].map((service) => service.ready()));
  return { api, ledgers, projector, workers };
}

/** Asked for each time: a service that is started again has another id. */
function pidsOf(services: DistributedServices, postmaster: number): () => ReadonlyMap<string, readonly number[]> {
  const pid = (service: ServiceChild) => service.pid;
  return () =>
    new Map([
      ['API', [services.api.pid]],
      ['ledgers', services.ledgers.map(pid)],
      ['projector', [services.projector.pid]],
      ['workers', services.workers.map(pid)],
      ['Kafka broker', [childNamed('java') ?? 0]],
      ['Postgres', [postmaster]],
    ]);
}

async function payingKey(baseUrl: string, name: string): Promise<string> {
  const project = (await post(`${baseUrl}/v1/projects`, { name, environment: 'live' })) as { id: string; api_key: string };
  await post(`${baseUrl}/v1/admin/grants`, { project_id: project.id, amount: TOP_UP, kind: 'top_up', reason: 'benchmark' });
  return project.api_key;
}

async function post(url: string, body: unknown): Promise<unknown> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
  return response.json();
}

/** A partition is a directory named after its topic; its segments end in `.log`. */
function topicBytes(directory: string, topic: string): number {
  let bytes = 0;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const isSegment = entry.isFile() && entry.name.endsWith('.log') && entry.parentPath.includes(`/${topic}-`);
    if (isSegment) bytes += statSync(join(entry.parentPath, entry.name)).size;
  }
  return bytes;
}
