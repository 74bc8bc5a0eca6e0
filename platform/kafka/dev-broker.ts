/**
 * A real Apache Kafka broker for development and tests, without Docker: one node that is its own KRaft controller, listening on 127.0.0.1.
 * It can be stopped, killed, frozen and started again on the same port, which is how the suites find out what a broker's absence does.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Kafka, logLevel } from 'kafkajs';
import type { Logger } from 'pino';
import { brokerJars, DevBrokerError } from './broker-jars.js';
import { type Credentials, makeCertificate, scramArguments, securedSettings } from './secured-listener.js';

export { DevBrokerError, missingBrokerTools } from './broker-jars.js';

/** The releases that the suites run against: the last one that clients of the 3.x line meet, and a current 4.x. */
export const KAFKA_3_VERSION = '3.9.2';
export const KAFKA_4_VERSION = '4.3.1';

/** Nobody outside this machine is let in. */
const HOST = '127.0.0.1';

/** Enough for tests and benchmarks on one machine; Kafka's own default would take a gigabyte. */
const HEAP_MB_MAX = 512;

/** A start takes 3 to 6 s on an idle machine and several times that on a busy one. */
const START_TIMEOUT_MS = 120_000;
/** A broker that does not shut down in this time is killed; its log recovers at the next start. */
const STOP_TIMEOUT_MS = 20_000;
const PROBE_PAUSE_MS = 100;
const FREEZE_RECHECK_MS = 5;
const FORMAT_TIMEOUT_MS = 60_000;
const LOG_TAIL_CHARACTERS = 2_000;

export type DevBrokerOptions = {
  /** Where the broker keeps its data, settings and log. A broker started there again has the same port and the same topics. */
  readonly directory: string;
  /** Where jars are kept between runs, shared by all brokers of a version; `directory` by default. */
  readonly cacheDirectory?: string;
  /** A release such as `3.9.2`. */
  readonly version?: string;
  /** Opens a second listener with TLS and SASL (plain, scram-sha-256, scram-sha-512) for this user. */
  readonly secured?: Credentials;
  readonly logger: Logger;
};

export type DevBroker = {
  /** For a client's list of brokers; the same for as long as the directory lives. */
  readonly brokers: readonly string[];
  /** The listener with TLS and SASL, if one was asked for, and the certificate to trust. */
  readonly secured: SecuredListener | null;
  /** Starts it again after `stop` or `kill`; resolves when it answers. */
  start(): Promise<void>;
  /** Shuts it down as an operator would. Does nothing when it is down. */
  stop(): Promise<void>;
  /** Ends it without warning (SIGKILL). */
  kill(): Promise<void>;
  /** Stops it from running while its connections stay open (SIGSTOP). Resolves when its last thread stands still. */
  freeze(): Promise<void>;
  thaw(): void;
};

export type SecuredListener = { readonly brokers: readonly string[]; readonly certificate: string };

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
  const prepared = await prepare(directory, classPath, options.secured);
  const broker = new BrokerProcess({ directory, classPath, prepared, logger: options.logger });
  await broker.start();
  return broker;
}

/** What a directory was prepared with; written last, so that it stands for a preparation that is whole. */
type Prepared = { readonly port: number; readonly secured: SecuredListener | null };

/** Makes settings and storage the first time. */
async function prepare(directory: string, classPath: string, credentials: Credentials | undefined): Promise<Prepared> {
  const preparedFile = join(directory, 'prepared.json');
  if (existsSync(preparedFile)) return JSON.parse(await readFile(preparedFile, 'utf8')) as Prepared;
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  const [port, controllerPort, securedPort] = await freePorts();
  let secured: SecuredListener | null = null;
  let settings = settingsOf(directory, port, controllerPort);
  if (credentials !== undefined) {
    secured = { brokers: [`${HOST}:${securedPort}`], certificate: await makeCertificate(directory) };
    const listener = `,SECURED://${HOST}:${securedPort}`;
    settings = {
      ...settings,
      ...securedSettings(directory, credentials),
      listeners: settings['listeners'] + listener,
      'advertised.listeners': settings['advertised.listeners'] + listener,
      'listener.security.protocol.map': `${settings['listener.security.protocol.map']},SECURED:SASL_SSL`,
    };
  }
  const settingsFile = join(directory, 'server.properties');
  await writeFile(join(directory, 'log4j.properties'), LOG4J_SETTINGS);
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
  await writeFile(settingsFile, lines.join(''));
  await format(settingsFile, classPath, credentials === undefined ? [] : scramArguments(credentials));
  const prepared: Prepared = { port, secured };
  await writeFile(preparedFile, JSON.stringify(prepared));
  return prepared;
}

async function format(settingsFile: string, classPath: string, extra: readonly string[]): Promise<void> {
  // One that begins with a dash would be taken for another option.
  const clusterId = `F${randomBytes(16).toString('base64url').slice(1)}`;
  const arguments_ = ['-cp', classPath, 'kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', settingsFile, ...extra];
  await promisify(execFile)('java', arguments_, { timeout: FORMAT_TIMEOUT_MS }).catch((error: { stderr?: string; message: string }) => {
    throw new DevBrokerError(`Kafka's storage could not be formatted: ${error.stderr?.trim() || error.message}`);
  });
}

function settingsOf(directory: string, port: number, controllerPort: number): Readonly<Record<string, string | number | boolean>> {
  return {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@${HOST}:${controllerPort}`,
    listeners: `PLAINTEXT://${HOST}:${port},CONTROLLER://${HOST}:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://${HOST}:${port}`,
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
}

/** For Kafka 3.9; 4.x takes its level from a system property. */
const LOG4J_SETTINGS = `log4j.rootLogger=WARN, stderr
log4j.appender.stderr=org.apache.log4j.ConsoleAppender
log4j.appender.stderr.target=System.err
log4j.appender.stderr.layout=org.apache.log4j.PatternLayout
log4j.appender.stderr.layout.ConversionPattern=%d %p %c - %m%n
`;

type BrokerProcessOptions = {
  readonly directory: string;
  readonly classPath: string;
  readonly prepared: Prepared;
  readonly logger: Logger;
};

class BrokerProcess implements DevBroker {
  readonly brokers: readonly string[];
  readonly secured: SecuredListener | null;
  readonly #options: BrokerProcessOptions;
  #child: ChildProcess | null = null;

  constructor(options: BrokerProcessOptions) {
    this.#options = options;
    this.brokers = [`${HOST}:${options.prepared.port}`];
    this.secured = options.prepared.secured;
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

  async freeze(): Promise<void> {
    const child = this.#child;
    if (child?.pid === undefined) return;
    child.kill('SIGSTOP');
    while (await isMoving(child.pid)) await delay(FREEZE_RECHECK_MS);
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

/** Whether a thread of the process has not heard of its stop yet. Knows only on Linux; elsewhere the signal has to do. */
async function isMoving(pid: number): Promise<boolean> {
  const tasks = `/proc/${pid}/task`;
  const threads = await readdir(tasks).catch(() => []);
  const stats = await Promise.all(threads.map((thread) => readFile(join(tasks, thread, 'stat'), 'utf8').catch(() => '')));
  // The state follows the name, which is in brackets and may hold anything.
  return stats.some((stat) => stat !== '' && stat[stat.lastIndexOf(')') + 2] !== 'T');
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

/** Ports that nobody listens on at this moment: for clients, the controller and the secured listener. */
async function freePorts(): Promise<[number, number, number]> {
  const servers = [createServer(), createServer(), createServer()];
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject);
          server.listen(0, HOST, () => resolve((server.address() as { port: number }).port));
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports as [number, number, number];
}
