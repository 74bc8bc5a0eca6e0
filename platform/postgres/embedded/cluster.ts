/** The data directory of the embedded Postgres: made once, completely or not at all. */
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { PostgresBinaries } from './binaries.js';
import { EmbeddedPostgresError, explainPostgresOutput, explainSpawnError } from './embedded-postgres-error.js';
import { type PostgresUser, spawnAs } from './run-as.js';

/** Major version of the bundled server; data directories of another one cannot be opened. */
const POSTGRES_MAJOR = '18';

/** Superuser of the embedded server. There is no password: whoever can open the socket is the owner of the data anyway. */
export const EMBEDDED_USER = 'farebox';

export type ClusterOptions = {
  readonly clusterDirectory: string;
  readonly binaries: PostgresBinaries;
  readonly user: PostgresUser | null;
  readonly environment: Readonly<Record<string, string>>;
};

/** Runs initdb unless that was done before. An interrupted one leaves nothing that could be taken for a data directory. */
export async function ensureCluster(options: ClusterOptions): Promise<void> {
  const { clusterDirectory, user } = options;
  const versionFile = join(clusterDirectory, 'PG_VERSION');
  if (existsSync(versionFile)) {
    const version = readFileSync(versionFile, 'utf8').trim();
    if (version === POSTGRES_MAJOR) return;
    throw new EmbeddedPostgresError(
      `${clusterDirectory} was made by Postgres ${version} and this is Postgres ${POSTGRES_MAJOR}: dump it with the old version and load it with the new.`,
    );
  }
  if (existsSync(clusterDirectory) && readdirSync(clusterDirectory).length > 0) {
    throw new EmbeddedPostgresError(
      `${clusterDirectory} is not empty and not a Postgres data directory; set FAREBOX_DATA_DIR to another place.`,
    );
  }
  const unfinished = `${clusterDirectory}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  if (user !== null) chownSync(unfinished, user.uid, user.gid);
  chmodSync(unfinished, 0o700);
  await runInitdb(options, unfinished);
  rmSync(clusterDirectory, { recursive: true, force: true });
  renameSync(unfinished, clusterDirectory);
  syncDirectory(dirname(clusterDirectory));
}

function runInitdb({ binaries, user, environment }: ClusterOptions, directory: string): Promise<void> {
  const args = [
    `--pgdata=${directory}`,
    `--username=${EMBEDDED_USER}`,
    '--auth=trust',
    '--encoding=UTF8',
    // Postgres' own collation sorts by code point on every machine alike and depends on no locale that might be missing.
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--no-instructions',
    ...(process.platform === 'linux' ? ['--sync-method=syncfs'] : []),
  ];
  return new Promise((resolve, reject) => {
    const child = spawnAs(user, binaries.initdb, args, {
      cwd: '/',
      env: { ...process.env, ...environment, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const collect = (text: string) => {
      output += text;
    };
    child.stdout?.setEncoding('utf8').on('data', collect);
    child.stderr?.setEncoding('utf8').on('data', collect);
    child.once('error', (error) => reject(explainSpawnError(binaries.initdb, error)));
    child.once('close', (code) => {
      if (code === 0) resolve();
      else reject(explainPostgresOutput('The data directory of Postgres could not be made', output));
    });
  });
}

/** Makes a rename in the directory durable. */
function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
