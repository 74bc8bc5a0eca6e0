/**
 * The distributed deployment as real processes: two ledgers, a projector, two inference workers and an API over a Kafka broker and a Postgres
 * that are there already. Postgres is the event store unless `eventStoreDbUrl` names one.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { kafkaSettingsFromEnvironment } from '../../events/bus/kafka/kafka-bus.js';
import type { TestBroker } from '../../events/bus/kafka/testing/brokers-for-tests.js';
import { createTopics, topicPlans } from '../../events/bus/kafka/topics.js';
import { DEFAULT_POOL } from '../../events/contract/index.js';
import { createEventStoreDbStore } from '../../events/store/eventstoredb/eventstoredb-store.js';
import { freePorts } from '../../platform/testing/free-ports.js';
import { createTestDatabase, type TestDatabase } from '../../platform/testing/postgres-for-tests.js';
import { loadPreset } from '../../presets/load-preset.js';
import { type Books, openBooks } from './books.js';
import type { CommandResult, Deployment, DeploymentOptions, Welcome } from './deployment.js';
import { type ServiceName, ServiceProcess } from './service-process.js';

const CLI = fileURLToPath(new URL('../../services/standalone/cli.js', import.meta.url));
const ADMIN_KEY = 'fbx_admin_of_the_tests_0123456789abcdef';
const LEDGER_SECRET = 'ledger-secret-of-the-tests-0123456789';
/** A seed for Ed25519. */
const RECEIPT_KEY = Buffer.alloc(32, 7).toString('base64');
const MEDIA_SECRET = 'media-secret-of-the-tests-0123456789';
const LEDGERS = 2;
const POOLS_OF_WORKERS = [DEFAULT_POOL, DEFAULT_POOL];

type Database = Pick<TestDatabase, 'connectionString' | 'drop'>;

export type DistributedDeploymentOptions = DeploymentOptions & {
  /** A broker of its own for each deployment: topics are shared by whoever uses one. */
  readonly broker: TestBroker;
  readonly eventStoreDbUrl?: string;
  /** Of a server of the suite's own; a database of the test run's server by default. */
  readonly databaseUrl?: string;
  /** More of the environment of every process. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Of the workers, one for each; all in the default pool where it is left out. */
  readonly pools?: readonly string[];
};

export async function createDistributedDeployment(options: DistributedDeploymentOptions): Promise<DistributedDeployment> {
  const settings = kafkaSettingsFromEnvironment({ KAFKA_BROKERS: options.broker.brokers.join(',') }, 'tests');
  await createTopics({ settings, plans: topicPlans(options.pools ?? [DEFAULT_POOL]), logger: pino({ level: 'silent' }) });
  const { databaseUrl } = options;
  const database = databaseUrl === undefined ? await createTestDatabase() : { connectionString: databaseUrl, drop: async () => {} };
  return new DistributedDeployment(options, database);
}

export class DistributedDeployment implements Deployment {
  readonly adminKey = ADMIN_KEY;
  readonly ledgers: ServiceProcess[] = [];
  readonly workers: ServiceProcess[] = [];
  readonly #options: DistributedDeploymentOptions;
  readonly #database: Database;
  #projector: ServiceProcess | null = null;
  #api: ServiceProcess | null = null;
  #demoKey: string | null = null;
  #ledgerUrls = '';
  #pastLog = '';

  constructor(options: DistributedDeploymentOptions, database: Database) {
    this.#options = options;
    this.#database = database;
  }

  get api(): ServiceProcess {
    if (this.#api === null) throw new Error('the deployment was not started');
    return this.#api;
  }

  get projector(): ServiceProcess {
    if (this.#projector === null) throw new Error('the deployment was not started');
    return this.#projector;
  }

  get baseUrl(): string {
    return this.api.url;
  }

  get log(): string {
    return (
      this.#pastLog +
      this.#processes()
        .map(({ log }) => log)
        .join('')
    );
  }

  /** Nobody prints one here; a newcomer makes a project and is told its key. */
  get welcome(): Welcome {
    if (this.#demoKey === null) throw new Error('the deployment was not started');
    const model = loadPreset(this.#options.preset ?? 'farebox').models[0]?.id;
    const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello!' }] });
    const curlLine = `curl ${this.baseUrl}/v1/chat/completions -H "Authorization: Bearer ${this.#demoKey}" -H "Content-Type: application/json" -d '${body}'`;
    return { text: curlLine, baseUrl: this.baseUrl, demoKey: this.#demoKey, adminKey: null, curlLine };
  }

  get exited(): Promise<void> {
    return Promise.all(this.#processes().map(({ exited }) => exited)).then(() => undefined);
  }

  isRunning(): boolean {
    return this.#processes().some((one) => one.isRunning());
  }

  async start(): Promise<void> {
    if (this.isRunning()) throw new Error('the deployment runs already');
    this.#pastLog = this.log;
    const ports = await freePorts(LEDGERS);
    this.#ledgerUrls = ports.map((port) => `http://127.0.0.1:${port}`).join(',');
    this.ledgers.splice(0, Number.POSITIVE_INFINITY, ...ports.map((port) => this.#spawnLedger(port)));
    const pools = this.#options.pools ?? POOLS_OF_WORKERS;
    this.workers.splice(0, Number.POSITIVE_INFINITY, ...pools.map((_pool, index) => this.#spawnWorker(index)));
    this.#projector = this.spawn('projector');
    await Promise.all(this.ledgers.map((ledger) => ledger.listening()));
    this.#api = this.spawn('api', { LEDGER_URLS: this.#ledgerUrls });
    await Promise.all(this.#processes().map((one) => one.ready()));
    await this.demoKey();
  }

  /** One more process of a service, of which the caller takes care. */
  spawn(name: ServiceName, environment: Readonly<Record<string, string>> = {}): ServiceProcess {
    return new ServiceProcess(name, {
      PORT: '0',
      LOG_LEVEL: 'warn',
      DATABASE_URL: this.#database.connectionString,
      KAFKA_BROKERS: this.#options.broker.brokers.join(','),
      FAREBOX_PRESET: this.#options.preset ?? 'farebox',
      FAREBOX_ENGINE: 'echo',
      FAREBOX_ADMIN_KEY: ADMIN_KEY,
      FAREBOX_LEDGER_SECRET: LEDGER_SECRET,
      FAREBOX_MEDIA_SECRET: MEDIA_SECRET,
      FAREBOX_RECEIPT_KEY: RECEIPT_KEY,
      FAREBOX_PAYMENTS: 'local',
      ...(this.#options.eventStoreDbUrl === undefined ? {} : { ESDB_URL: this.#options.eventStoreDbUrl }),
      ...this.#options.environment,
      ...environment,
    });
  }

  /** A project of the deployment's own. */
  async demoKey(): Promise<string> {
    this.#demoKey ??= await this.#makeDemoProject();
    return this.#demoKey;
  }

  #spawnLedger(port: number, environment: Readonly<Record<string, string>> = {}): ServiceProcess {
    return this.spawn('ledger', { PORT: String(port), LEDGER_URLS: this.#ledgerUrls, ...environment });
  }

  #spawnWorker(index: number, environment: Readonly<Record<string, string>> = {}): ServiceProcess {
    const pool = (this.#options.pools ?? POOLS_OF_WORKERS)[index] ?? DEFAULT_POOL;
    return this.spawn('inference', { FAREBOX_POOL: pool, ...environment });
  }

  /** Where the last one was: APIs know its address. */
  async restartLedger(index: number, environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const { port } = new URL(this.ledgers[index]?.url ?? '');
    const ledger = this.#spawnLedger(Number(port), environment);
    this.ledgers[index] = ledger;
    await ledger.ready();
  }

  /** One more API instance, of which the caller takes care. */
  async anotherApi(): Promise<ServiceProcess> {
    const api = this.spawn('api', { LEDGER_URLS: this.#ledgerUrls });
    await api.ready();
    return api;
  }

  async restartWorker(index: number, environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const worker = this.#spawnWorker(index, environment);
    this.workers[index] = worker;
    await worker.ready();
  }

  async restartProjector(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    this.#projector = this.spawn('projector', environment);
    await this.#projector.ready();
  }

  /** Where the last one was, as behind a load balancer. */
  async restartApi(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const { port } = new URL(this.api.url);
    this.#api = this.spawn('api', { LEDGER_URLS: this.#ledgerUrls, PORT: port, ...environment });
    await this.#api.ready();
  }

  /** The API first: what it has under way needs the others. */
  async stop(): Promise<{ readonly exitCode: number | null }> {
    const codes = [await this.#api?.stop()];
    codes.push(...(await Promise.all(this.workers.map((worker) => worker.stop()))));
    codes.push(...(await Promise.all([...this.ledgers, this.projector].map((one) => one.stop()))));
    return { exitCode: codes.find((code) => code !== 0) ?? 0 };
  }

  async kill(): Promise<void> {
    await Promise.all(this.#processes().map((one) => one.kill()));
  }

  /** `words`: what follows the command on its line. */
  async command(name: 'verify' | 'rebuild', words: readonly string[] = []): Promise<CommandResult> {
    const { NODE_OPTIONS: _, ...inherited } = process.env;
    const child: ChildProcess = spawn(process.execPath, [CLI, name, ...words], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        ...inherited,
        DATABASE_URL: this.#database.connectionString,
        LOG_LEVEL: 'warn',
        ...(this.#options.eventStoreDbUrl === undefined ? {} : { ESDB_URL: this.#options.eventStoreDbUrl }),
      },
    });
    let output = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    await new Promise<void>((resolve) => child.once('close', () => resolve()));
    return { exitCode: child.exitCode, output };
  }

  openBooks(): Promise<Books> {
    const { eventStoreDbUrl } = this.#options;
    const logger = pino({ level: 'silent' });
    const store = eventStoreDbUrl === undefined ? undefined : createEventStoreDbStore({ connectionString: eventStoreDbUrl, logger });
    return openBooks({ connectionString: this.#database.connectionString }, store);
  }

  async openBooksAndVerify() {
    const books = await this.openBooks();
    try {
      return await books.verify();
    } finally {
      await books.close();
    }
  }

  async dispose(): Promise<void> {
    for (const one of this.#processes()) {
      // A stopped process takes no other signal.
      one.signal('SIGCONT');
      await one.kill();
    }
    await this.#database.drop();
  }

  #processes(): ServiceProcess[] {
    const all = [this.#api, ...this.workers, ...this.ledgers, this.#projector];
    return all.filter((one) => one !== null);
  }

  async #makeDemoProject(): Promise<string> {
    const response = await fetch(`${this.baseUrl}/v1/projects`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'Demo', environment: 'live' }),
    });
    const body = (await response.json()) as { api_key?: string };
    if (body.api_key === undefined) throw new Error(`no demo project: ${JSON.stringify(body)}`);
    return body.api_key;
  }
}
