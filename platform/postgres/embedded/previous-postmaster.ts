/**
 * Ends a Postgres that outlived the Farebox that started it. Called by the owner of the data directory only, so any server found there is
 * an orphan; it is stopped rather than adopted, so that the one that serves is always a child with today's settings.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';

/** Signals of a Postgres shutdown, from gentle to certain, and how long each may take. SIGINT is "fast", SIGQUIT "immediate". */
export const STOP_STEPS: readonly { readonly signal: NodeJS.Signals; readonly timeoutMs: number }[] = [
  { signal: 'SIGINT', timeoutMs: 10_000 },
  { signal: 'SIGQUIT', timeoutMs: 3_000 },
  { signal: 'SIGKILL', timeoutMs: 2_000 },
];
const RECHECK_MS = 10;

export async function endPreviousPostmaster(clusterDirectory: string, logger: Logger): Promise<void> {
  const pidFile = join(clusterDirectory, 'postmaster.pid');
  const pid = readPid(pidFile);
  if (pid === null || !isRunning(pid)) return;
  if (!isPostmasterOf(pid, clusterDirectory)) {
    // The id was given to another process since; Postgres would take that one for a server and refuse to start.
    rmSync(pidFile, { force: true });
    return;
  }
  logger.warn({ postgresPid: pid }, 'a Postgres of an earlier run is still there; stopping it');
  for (const { signal, timeoutMs } of STOP_STEPS) {
    signalProcess(pid, signal);
    const deadlineMs = performance.now() + timeoutMs;
    while (performance.now() < deadlineMs) {
      if (!isPostmasterOf(pid, clusterDirectory)) return;
      await delay(RECHECK_MS);
    }
  }
  throw new EmbeddedPostgresError(`A Postgres of an earlier run (process ${pid}) cannot be stopped.`);
}

/** First line of `postmaster.pid`, or `null` when there is none. */
export function readPid(pidFile: string): number | null {
  try {
    const pid = Number.parseInt(readFileSync(pidFile, 'utf8'), 10);
    return Number.isSafeInteger(pid) && pid > 1 ? pid : null;
  } catch {
    return null;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') {
      throw new EmbeddedPostgresError(`A Postgres of an earlier run (process ${pid}) belongs to another user and still uses the data.`);
    }
  }
}

/** Whether the process is a postmaster that was started on this directory. A zombie has no command line and is none. */
function isPostmasterOf(pid: number, clusterDirectory: string): boolean {
  try {
    const command =
      process.platform === 'linux'
        ? readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        : execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' });
    return command.includes('postgres') && command.includes(` -D ${clusterDirectory} `);
  } catch {
    return false;
  }
}
