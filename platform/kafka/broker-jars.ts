/**
 * Brings the jars of an Apache Kafka release onto this machine: a generated pom names the release, Maven resolves it from Maven Central (or
 * from the mirror its settings name) and copies what the broker needs into one directory, which later starts reuse.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Logger } from 'pino';

const run = promisify(execFile);

/** A cold download is some 50 MB; a line slower than this is broken. */
const DOWNLOAD_TIMEOUT_MS = 600_000;
const VERSION_CHECK_TIMEOUT_MS = 30_000;

/** Pinned: what is run here must not change by itself. */
const COPY_DEPENDENCIES = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';

/** The development broker cannot run on this machine, and the message says what to do. */
export class DevBrokerError extends Error {
  override readonly name = 'DevBrokerError';
}

/** Commands that a development broker needs and this machine lacks: `java`, `mvn`, both or none. */
export async function missingBrokerTools(): Promise<readonly string[]> {
  const missing: string[] = [];
  for (const [command, argument] of [
    ['java', '-version'],
    ['mvn', '-version'],
  ] as const) {
    await run(command, [argument], { timeout: VERSION_CHECK_TIMEOUT_MS }).catch(() => missing.push(command));
  }
  return missing;
}

/** Directory with the jars of `version`, filled when it is not there. Rejects with `DevBrokerError` when Maven is missing or fails. */
export async function brokerJars(cacheDirectory: string, version: string, logger: Logger): Promise<string> {
  if (!/^\d+\.\d+\.\d+$/.test(version)) throw new DevBrokerError(`a Kafka version looks like 3.9.2; got ${version}`);
  const jars = join(cacheDirectory, `jars-${version}`);
  if (existsSync(jars)) return jars;
  const missing = await missingBrokerTools();
  if (missing.length > 0) {
    throw new DevBrokerError(`Kafka needs ${missing.join(' and ')} on the PATH (Java 17 or newer; Maven 3), or set KAFKA_BROKERS`);
  }
  await mkdir(cacheDirectory, { recursive: true });
  // Filled apart and renamed when whole: an interrupted download leaves nothing that looks complete.
  const partial = await mkdtemp(join(cacheDirectory, `jars-${version}-partial-`));
  try {
    logger.info({ version, jars }, 'downloading Kafka from Maven Central');
    await writeFile(join(partial, 'pom.xml'), pomOf(version));
    const output = join(partial, 'jars');
    const arguments_ = [
      '-q',
      '-B',
      '-f',
      join(partial, 'pom.xml'),
      COPY_DEPENDENCIES,
      `-DoutputDirectory=${output}`,
      '-DincludeScope=runtime',
    ];
    await run('mvn', arguments_, { timeout: DOWNLOAD_TIMEOUT_MS }).catch((error: { stdout?: string; message: string }) => {
      throw new DevBrokerError(`Maven could not fetch Kafka ${version}: ${error.stdout?.trim() || error.message}`);
    });
    await rename(output, jars).catch((error: unknown) => {
      // Somebody else was faster; theirs is as good.
      if (!existsSync(jars)) throw error;
    });
    return jars;
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

/** Kafka 3.9 loads log4j 1 classes whatever is logged, so it gets their successor; 4.x brings its own log4j 2 and only lacks a binding. */
function pomOf(version: string): string {
  const binding = version.startsWith('3.') ? 'slf4j-reload4j' : 'slf4j-simple';
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>farebox</groupId>
  <artifactId>dev-broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${version}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>${binding}</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`;
}
