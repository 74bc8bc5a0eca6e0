/**
 * The real brokers that a suite runs against: the cluster that `KAFKA_BROKERS` names, or a development broker of each release. Jars are kept
 * between runs in `FAREBOX_KAFKA_CACHE`; data is not.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from '@jest/globals';
import { pino } from 'pino';
import {
  type DevBroker,
  KAFKA_3_VERSION,
  KAFKA_4_VERSION,
  missingBrokerTools,
  startDevBroker,
} from '../../../../platform/kafka/dev-broker.js';
import { PACKAGE_ROOT } from '../../../../platform/package-root.js';

export const silent = pino({ level: process.env['FAREBOX_KAFKA_LOG'] ?? 'silent' }, pino.destination(2));

/** Releases to test with, or none when `KAFKA_BROKERS` names a cluster. */
export const KAFKA_VERSIONS: readonly string[] = process.env['KAFKA_BROKERS'] === undefined ? [KAFKA_3_VERSION, KAFKA_4_VERSION] : [];

const CACHE_DIRECTORY = process.env['FAREBOX_KAFKA_CACHE'] ?? fileURLToPath(new URL('.farebox-kafka', PACKAGE_ROOT));

/** Why no broker can be started here, for a message and the names of skipped tests; `null` when one can. Throws instead where `CI` is set. */
export async function whyNoBroker(): Promise<string | null> {
  if (KAFKA_VERSIONS.length === 0) return null;
  const hasJars = KAFKA_VERSIONS.every((version) => existsSync(join(CACHE_DIRECTORY, `jars-${version}`)));
  const missing = (await missingBrokerTools()).filter((tool) => tool !== 'mvn' || !hasJars);
  if (missing.length === 0) return null;
  const reason = `${missing.join(' and ')} not found`;
  if (process.env['CI'] !== undefined) throw new Error(`no Kafka broker can be had, and CI does without none: ${reason}`);
  return reason;
}

/** Of the listener with TLS and SASL. */
export const CREDENTIALS = { username: 'farebox', password: 'only-for-tests' };

export type TestBroker = DevBroker & { dispose(): Promise<void> };

export async function startTestBroker(version: string): Promise<TestBroker> {
  const directory = await mkdtemp(join(tmpdir(), 'farebox-kafka-'));
  const remove = () => rm(directory, { recursive: true, force: true });
  try {
    const broker = await startDevBroker({ directory, cacheDirectory: CACHE_DIRECTORY, version, secured: CREDENTIALS, logger: silent });
    return {
      brokers: broker.brokers,
      secured: broker.secured,
      start: () => broker.start(),
      stop: () => broker.stop(),
      kill: () => broker.kill(),
      freeze: () => broker.freeze(),
      thaw: () => broker.thaw(),
      async dispose() {
        await broker.kill();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Describes `suite` where a broker can be had; elsewhere says aloud, in the output and as a skipped test, that it is not run. */
export async function describeWithBroker(what: string, suite: () => void): Promise<void> {
  const reason = await whyNoBroker();
  if (reason === null) {
    suite();
    return;
  }
  process.stderr.write(`\nSKIPPED: ${what}: ${reason}. Install them, or name a cluster in KAFKA_BROKERS.\n\n`);
  // biome-ignore lint/suspicious/noSkippedTests: said aloud above, and only where no broker can be had.
  test.skip(`${what} is not tested here: ${reason}`, () => {});
}
