/**
 * A real Apache Kafka broker for development and tests, without Docker: one node that is its own KRaft controller, listening on 127.0.0.1.
 * It can be stopped, killed, frozen and started again on the same port, which is how the suites find out what a broker's absence does.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Kafka, logLevel } from 'kafkajs';
import type { Logger } from 'pino';
import { brokerJars, DevBrokerError } from './broker-jars.js';

export { DevBrokerError, missingBrokerTools } from './broker-jars.js';

/** The releases that the suites run against: the last one that clients of the 3.x line meet, and a current 4.x. */
export const KAFKA_3_VERSION = '3.9.2';
export const KAFKA_4_VERSION = '4.3.1';

/** Enough for tests and benchmarks on one machine; Kafka's own default would take a gigabyte. */
const HEAP_MB_MAX = 512;

/** A start takes 3 to 6 s on an idle machine and several times that on a busy one. */
const START_TIMEOUT_MS = 120_000;
/** A broker that does not shut down in this time is killed; its log recovers at the next start. */
const STOP_TIMEOUT_MS = 20_000;
const PROBE_PAUSE_MS = 100;
const FORMAT_TIMEOUT_MS = 60_000;
const LOG_TAIL_CHARACTERS = 2_000;

export type DevBrokerOptions = {
  /** Where the broker keeps its data, settings and log. A broker started there again has the same port and the same topics. */
  readonly directory: string;
  /** Where jars are kept between runs, shared by all brokers of a version; `directory` by default. */
  readonly cacheDirectory?: string;
  /** A release such as `3.9.2`. */
  readonly version?: string;
  readonly logger: Logger;
};

export type DevBroker = {
  /** For a client's list of brokers; the same for as long as the directory lives. */
  readonly brokers: readonly string[];
  /** Starts it again after `stop` or `kill`; resolves when it answers. */
  start(): Promise<void>;
  /** Shuts it down as an operator would. Does nothing when it is down. */
  stop(): Promise<void>;
  /** Ends it without warning (SIGKILL). */
  kill(): Promise<void>;
  /** Stops it from running while its connections stay open (SIGSTOP). */
  freeze(): void;
  thaw(): void;
};

/**
 * Downloads what is needed, formats the directory the first time and starts the broker. Rejects with `DevBrokerError`, naming the reason and
 * the tail of its log, when it cannot.
 */
export async function startDevBroker(options: DevBrokerOptions): Promise<DevBroker> {
  const version = options.version ?? KAFKA_4_VERSION;
  const home = resolve(options.directory);
  const jars = await brokerJars(resolve(options.cacheDirectory ?? home), version, options.logger);
  // Data of a newer release cannot be read by an older one.
  const directory = join(home, `broker-${version}`);
  const classPath = join(jars, '*');
  const port = await prepare(directory, classPath);
  const broker = new BrokerProcess({ directory, classPath, address: `127.0.0.1:${port}`, logger: options.logger });
  await broker.start();
  return broker;
}

/** Makes settings and storage the first time. Returns the port that clients connect to. */
async function prepare(directory: string, classPath: string): Promise<number> {
  const settingsFile = join(directory, 'server.properties');
  if (!existsSync(settingsFile)) {
    await mkdir(directory, { recursive: true });
    const [port, controllerPort] = await freePorts();
    await writeFile(join(directory, 'log4j.properties'), LOG4J_SETTINGS);
    const settings = settingsOf(directory, port, controllerPort);
    const draft = `${settingsFile}.draft`;
    await writeFile(draft, settings);
    await format(draft, classPath);
    await writeFile(settingsFile, settings);
    return port;
  }
  const listed = /^advertised\.listeners=.*:(\d+)$/m.exec(await readFile(settingsFile, 'utf8'));
  if (listed === null) throw new DevBrokerError(`${settingsFile} names no port; remove ${directory} to begin anew`);
  return Number(listed[1]);
}

async function format(settingsFile: string, classPath: string): Promise<void> {
  const clusterId = randomBytes(16).toString('base64url');
  const arguments_ = ['-cp', classPath, 'kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', settingsFile, '--ignore-formatted'];
  await promisify(execFile)('java', arguments_, { timeout: FORMAT_TIMEOUT_MS }).catch((error: { stderr?: string; message: string }) => {
    throw new DevBrokerError(`Kafka's storage could not be formatted: ${error.stderr?.trim() || error.message}`);
  });
}

function settingsOf(directory: string, port: number, controllerPort: number): string {
  const settings: Record<string, string | number | boolean> = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': join(directory, 'log'),
    // Topics are made by a command, with stated partitions and retention; a misspelt name must fail.
    'auto.create.topics.enable': false,
    // The first member of a group need not wait for others.
    'group.initial.rebalance.delay.ms': 0,
    // One node cannot hold more than one copy.
    'offsets.topic.replication.factor': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    // Fifty by default, each with files of its own to open at a start.
    'offsets.topic.num.partitions': 4,
    // There is no other broker to hand partitions to.
    'controlled.shutdown.enable': false,
  };
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}

/** For Kafka 3.9; 4.x takes its level from a system property. */
const LOG4J_SETTINGS = `log4j.rootLogger=WARN, stderr
log4j.appender.stderr=org.apache.log4j.ConsoleAppender
log4j.appender.stderr.target=System.err
log4j.appender.stderr.layout=org.apache.log4j.PatternLayout
log4j.appender.stderr.layout.ConversionPattern=%d %p %c - %m%n
`;

type BrokerProcessOptions = { readonly directory: string; readonly classPath: string; readonly address: string; readonly logger: Logger };

class BrokerProcess implements DevBroker {
  readonly brokers: readonly string[];
  readonly #options: BrokerProcessOptions;
  #child: ChildProcess | null = null;

  constructor(options: BrokerProcessOptions) {
    this.#options = options;
    this.brokers = [options.address];
  }

  async start(): Promise<void> {
    if (this.#child !== null) return;
    const { directory, classPath } = this.#options;
    const log = await open(join(directory, 'broker.log'), 'a');
    const child = spawn(
      'java',
      [
        `-Xmx${HEAP_MB_MAX}m`,
        `-Dlog4j.configuration=file:${join(directory, 'log4j.properties')}`,
        '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
        '-cp',
        classPath,
        'kafka.Kafka',
        join(directory, 'server.properties'),
      ],
      // A process group of its own: Ctrl-C reaches only us, who then stop it in order.
      { detached: true, stdio: ['ignore', log.fd, log.fd] },
    );
    await log.close();
    this.#child = child;
    child.once('error', () => {
      if (this.#child === child) this.#child = null;
    });
    child.once('exit', () => {
      if (this.#child === child) this.#child = null;
    });
    if (child.pid !== undefined) endWithParent(child, child.pid);
    await this.#answers(child).catch(async (error: unknown) => {
      await this.kill();
      throw error;
    });
    this.#options.logger.info({ brokers: this.brokers }, 'Kafka is up');
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    // A frozen process hears nothing else.
    child.kill('SIGCONT');
    const exited = exitOf(child);
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    const exited = exitOf(child);
    child.kill('SIGKILL');
    await exited;
  }

  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  /** Waits for an answer from the broker itself: its port opens long before it does anything. */
  async #answers(child: ChildProcess): Promise<void> {
    const deadlineMs = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      if (this.#child !== child) throw new DevBrokerError(`Kafka ended while it was starting:\n${await this.#logTail()}`);
      if (await isAnswering(this.brokers)) return;
      if (performance.now() > deadlineMs)
        throw new DevBrokerError(`Kafka did not answer in ${START_TIMEOUT_MS} ms:\n${await this.#logTail()}`);
      await delay(PROBE_PAUSE_MS);
    }
  }

  async #logTail(): Promise<string> {
    return (await readFile(join(this.#options.directory, 'broker.log'), 'utf8').catch(() => '')).slice(-LOG_TAIL_CHARACTERS);
  }
}

async function isAnswering(brokers: readonly string[]): Promise<boolean> {
  const client = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING, requestTimeout: 2_000, retry: { retries: 0 } });
  const admin = client.admin();
  try {
    await admin.connect();
    return (await admin.describeCluster()).brokers.length > 0;
  } catch {
    return false;
  } finally {
    await admin.disconnect().catch(() => {});
  }
}

/** A shell that ends the broker when this process is gone, however it went: its standard input closes with us. */
function endWithParent(child: ChildProcess, pid: number): void {
  const script = 'cat >/dev/null; kill -9 "$1"';
  const watcher = spawn('sh', ['-c', script, 'farebox-kafka-watcher', String(pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  watcher.unref();
  child.once('exit', () => watcher.kill('SIGKILL'));
}

function exitOf(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
  });
}

/** Two ports that nobody listens on at this moment. */
async function freePorts(): Promise<[number, number]> {
  const servers = [createServer(), createServer()];
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return [ports[0] as number, ports[1] as number];
}
