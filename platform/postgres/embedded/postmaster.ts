/** One run of the Postgres server as a child process: started until it is ready, ended with its parent. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { PostgresBinaries } from './binaries.js';
import { EmbeddedPostgresError, explainPostgresOutput, explainSpawnError } from './embedded-postgres-error.js';
import { STOP_STEPS } from './previous-postmaster.js';
import { type PostgresUser, spawnAs } from './run-as.js';
import { settingArguments } from './server-settings.js';

/** Recovery after a crash replays at most `max_wal_size` of log; on a slow disk that takes a while. */
const START_TIMEOUT_MS = 120_000;
const RECHECK_MS = 5;
/** Lines of output kept to explain a failed start. */
const OUTPUT_LINES_MAX = 30;
/** Line of `postmaster.pid` that says how far the server is, counting from 0 (pidfile.h). */
const STATUS_LINE = 7;

export type Postmaster = {
  readonly pid: number;
  /** Resolves when the server is gone, for whatever reason. */
  readonly exited: Promise<void>;
  stop(): Promise<void>;
};

export type PostmasterOptions = {
  readonly clusterDirectory: string;
  readonly binaries: PostgresBinaries;
  readonly user: PostgresUser | null;
  readonly environment: Readonly<Record<string, string>>;
  readonly settings: Readonly<Record<string, string>>;
  readonly logger: Logger;
};

/** Resolves when the server takes connections. Throws `EmbeddedPostgresError` with the reason when it does not come up. */
export async function startPostmaster(options: PostmasterOptions): Promise<Postmaster> {
  const { binaries, clusterDirectory } = options;
  const child = spawnAs(options.user, binaries.postgres, ['-D', clusterDirectory, ...settingArguments(options.settings)], {
    cwd: '/',
    env: { ...process.env, ...options.environment, LC_ALL: 'C' },
    stdio: ['ignore', 'ignore', 'pipe'],
    // A session of its own: Ctrl-C goes to the terminal's whole process group, and Postgres must outlive the drain.
    detached: true,
  });
  const output = forwardOutput(child, options.logger);
  let isGone = false;
  let spawnError: Error | null = null;
  const exited = new Promise<void>((resolve) => {
    const end = () => {
      isGone = true;
      resolve();
    };
    child.once('close', end);
    child.once('error', (error) => {
      spawnError = explainSpawnError(binaries.postgres, error);
      end();
    });
  });
  const { pid } = child;
  // The watcher must be gone before the server counts as gone: its process id may be another's soon.
  const stopWatching = pid === undefined ? () => Promise.resolve() : endWithParent(pid, options.user);
  const ended = exited.then(stopWatching);
  const deadlineMs = performance.now() + START_TIMEOUT_MS;
  while (pid === undefined || !isReady(clusterDirectory, pid)) {
    if (isGone) throw spawnError ?? explainPostgresOutput('Postgres did not start', output.join('\n'));
    if (performance.now() > deadlineMs) {
      child.kill('SIGQUIT');
      throw new EmbeddedPostgresError(`Postgres was not ready within ${START_TIMEOUT_MS / 1000} s. It said:\n${output.join('\n')}`);
    }
    await delay(RECHECK_MS);
  }
  // A process that has nothing else to do may end; Postgres ends with it.
  child.unref();
  return { pid, exited: ended, stop: () => stopChild(child, ended) };
}

async function stopChild(child: ChildProcess, exited: Promise<void>): Promise<void> {
  child.ref();
  for (const { signal, timeoutMs } of STOP_STEPS) {
    child.kill(signal);
    const timeout = new AbortController();
    const gone = await Promise.race([exited.then(() => true), delay(timeoutMs, false, { signal: timeout.signal }).catch(() => false)]);
    timeout.abort();
    if (gone) return;
  }
}

/**
 * Has Postgres shut down when this process dies without stopping it, be it by kill -9: a shell waits for the end of a pipe that only this
 * process holds open. A crash of both at once is healed by the next start.
 */
function endWithParent(pid: number, user: PostgresUser | null): () => Promise<void> {
  const watcher = spawn('/bin/sh', ['-c', 'read -r _; kill -INT "$1"', 'farebox-postgres-watcher', String(pid)], {
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
    ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
  });
  watcher.on('error', () => {});
  watcher.stdin.on('error', () => {});
  watcher.unref();
  (watcher.stdin as unknown as { unref(): void }).unref();
  return () =>
    new Promise((resolve) => {
      const isGone = watcher.pid === undefined || watcher.exitCode !== null || watcher.signalCode !== null;
      if (isGone) return resolve();
      watcher.ref();
      watcher.once('exit', () => resolve());
      watcher.kill('SIGKILL');
    });
}

/** As `pg_ctl` does it: the server itself notes in its pid file when it takes connections. Asking it would fill its log with refusals. */
function isReady(clusterDirectory: string, pid: number): boolean {
  try {
    const lines = readFileSync(join(clusterDirectory, 'postmaster.pid'), 'utf8').split('\n');
    return lines[0] === String(pid) && lines[STATUS_LINE]?.trim() === 'ready';
  } catch {
    return false;
  }
}

const EXPECTED_REFUSALS =
  /the database system is (starting up|shutting down|not yet accepting)|terminating connection due to administrator command/;

/** Passes Postgres' lines to the log and keeps the last of them. */
function forwardOutput(child: ChildProcess, logger: Logger): string[] {
  const kept: string[] = [];
  let rest = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      kept.push(line);
      if (kept.length > OUTPUT_LINES_MAX) kept.shift();
      // Clients that come before it is ready, or stay while it is shut down, are turned away one by one; that is no fault.
      const isFault = /^(FATAL|PANIC|WARNING):/.test(line) && !EXPECTED_REFUSALS.test(line);
      if (isFault) logger.warn({ postgres: line }, 'postgres');
      else logger.debug({ postgres: line }, 'postgres');
    }
  });
  (child.stderr as unknown as { unref?(): void } | null)?.unref?.();
  return kept;
}
