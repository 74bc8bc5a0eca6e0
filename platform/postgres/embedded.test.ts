/** The embedded Postgres survives what is done to it: kill -9 of its parent, of itself and of both, root, closed directories. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { pino } from 'pino';
import { waitFor } from '../testing/wait-for.js';
import { EmbeddedPostgresError, startEmbeddedPostgres } from './embedded.js';

const logger = pino({ level: 'silent' });
/** What the architecture promises for a start after a crash. */
const START_AFTER_CRASH_MS_MAX = 3_000;

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'farebox-embedded-'));
  chmodSync(directory, 0o755);
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

describe('embedded Postgres', () => {
  test('keeps what was written over a restart, and leaves no process behind', async () => {
    const first = await startEmbeddedPostgres({ dataDirectory: directory, logger });
    const pid = first.postmasterPid();
    await query(first.connectionString, "create table facts as select 'kept' as fact");
    await Promise.all([first.stop(), first.stop()]);
    expect(isAlive(pid)).toBe(false);
    expect(watcherOf(pid)).toBeNull();
    const second = await startEmbeddedPostgres({ dataDirectory: directory, logger });
    try {
      expect(second.connectionString).toBe(first.connectionString);
      expect(await query(second.connectionString, 'select fact from facts')).toEqual([{ fact: 'kept' }]);
    } finally {
      await second.stop();
    }
  });

  test('listens on no TCP port and flushes before it acknowledges', async () => {
    const server = await startEmbeddedPostgres({ dataDirectory: directory, logger });
    try {
      const [settings] = await query(
        server.connectionString,
        "select current_setting('listen_addresses') as addresses, current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit",
      );
      expect(settings).toEqual({ addresses: '', fsync: 'on', commit: 'on' });
    } finally {
      await server.stop();
    }
  });

  test('refuses a second owner of the same directory while the first one lives', async () => {
    const server = await startEmbeddedPostgres({ dataDirectory: directory, logger });
    try {
      await expect(startEmbeddedPostgres({ dataDirectory: directory, logger })).rejects.toThrow(/in use by another Farebox/);
      expect(await query(server.connectionString, 'select 1 as one')).toEqual([{ one: 1 }]);
    } finally {
      await server.stop();
    }
  });

  test('comes back by itself, under the same address, when it is killed', async () => {
    const server = await startEmbeddedPostgres({ dataDirectory: directory, logger });
    try {
      await query(server.connectionString, 'create table facts (fact text)');
      const killed = server.postmasterPid();
      const startedMs = performance.now();
      kill(killed);
      const rows = await waitFor(
        () => query(server.connectionString, "insert into facts values ('after') returning fact").catch(() => null),
        {
          describe: 'an insert into the restarted server',
        },
      );
      expect(rows).toEqual([{ fact: 'after' }]);
      expect(server.postmasterPid()).not.toBe(killed);
      expect(performance.now() - startedMs).toBeLessThan(START_AFTER_CRASH_MS_MAX);
    } finally {
      await server.stop();
    }
  });
});

describe('a parent that dies', () => {
  test('takes Postgres with it, and nothing acknowledged is lost', async () => {
    const host = await startHost(directory);
    await query(host.connectionString, "create table facts as select 'acknowledged' as fact");
    host.process.kill('SIGKILL');
    await waitFor(() => !isAlive(host.postmasterPid), { describe: 'Postgres to end after its parent', timeoutMs: 5_000 });
    const next = await startEmbeddedPostgres({ dataDirectory: directory, logger });
    try {
      expect(await query(next.connectionString, 'select fact from facts')).toEqual([{ fact: 'acknowledged' }]);
    } finally {
      await next.stop();
    }
  });

  test('leaves an orphan when its watcher dies too, which the next start replaces in time', async () => {
    const host = await startHost(directory);
    await query(host.connectionString, "create table facts as select 'acknowledged' as fact");
    kill(watcherOf(host.postmasterPid));
    host.process.kill('SIGKILL');
    await waitFor(() => host.process.signalCode !== null, { describe: 'the parent to be gone' });
    expect(isAlive(host.postmasterPid)).toBe(true);
    const startedMs = performance.now();
    const next = await startEmbeddedPostgres({ dataDirectory: directory, logger });
    try {
      expect(performance.now() - startedMs).toBeLessThan(START_AFTER_CRASH_MS_MAX);
      expect(isAlive(host.postmasterPid)).toBe(false);
      expect(await query(next.connectionString, 'select fact from facts')).toEqual([{ fact: 'acknowledged' }]);
    } finally {
      await next.stop();
    }
  });

  test('together with its Postgres and everything else leaves a directory that starts again', async () => {
    const host = await startHost(directory);
    await query(host.connectionString, "create table facts as select 'acknowledged' as fact");
    kill(watcherOf(host.postmasterPid));
    kill(host.postmasterPid);
    host.process.kill('SIGKILL');
    await waitFor(() => host.process.signalCode !== null, { describe: 'the parent to be gone' });
    const next = await startEmbeddedPostgres({ dataDirectory: directory, logger });
    try {
      expect(await query(next.connectionString, 'select fact from facts')).toEqual([{ fact: 'acknowledged' }]);
    } finally {
      await next.stop();
    }
  });

  test('is not needed for Ctrl-C: a signal to its process group leaves Postgres up until it is stopped', async () => {
    const host = await startHost(directory);
    expect(processGroupOf(host.postmasterPid)).not.toBe(processGroupOf(host.process.pid ?? 0));
    host.process.stdin?.end();
    await waitFor(() => host.process.exitCode !== null, { describe: 'the parent to end' });
    expect(host.process.exitCode).toBe(0);
    expect(isAlive(host.postmasterPid)).toBe(false);
  });
});

describe('a directory', () => {
  test('with a path too long for a socket still works', async () => {
    const deep = join(directory, 'a'.repeat(60), 'b'.repeat(60));
    const server = await startEmbeddedPostgres({ dataDirectory: deep, logger });
    const socketDirectory = new URL(server.connectionString).searchParams.get('host') ?? '';
    try {
      expect(socketDirectory.startsWith(directory)).toBe(false);
      expect(await query(server.connectionString, 'select 1 as one')).toEqual([{ one: 1 }]);
    } finally {
      await server.stop();
      rmSync(socketDirectory, { recursive: true, force: true });
    }
  });

  test.each([
    ['holds something else', 'notes.txt', /is not empty and not a Postgres data directory/],
    ['was made by another version', 'PG_VERSION', /was made by Postgres 12/],
  ])('that %s is refused and left alone', async (_name, file, message) => {
    mkdirSync(join(directory, 'postgres'));
    writeFileSync(join(directory, 'postgres', file), '12\n');
    const start = startEmbeddedPostgres({ dataDirectory: directory, logger });
    await expect(start).rejects.toThrow(EmbeddedPostgresError);
    await expect(start).rejects.toThrow(message);
    expect(readFileSync(join(directory, 'postgres', file), 'utf8')).toBe('12\n');
  });

  // Below `/root`, where a root shell starts, the user that Postgres runs as may not pass.
  if (process.getuid?.() === 0) {
    test('that is closed to everybody but root works for root', async () => {
      chmodSync(directory, 0o700);
      const inside = join(directory, 'checkout', '.farebox');
      const server = await startEmbeddedPostgres({ dataDirectory: inside, logger });
      try {
        expect(await query(server.connectionString, 'select 1 as one')).toEqual([{ one: 1 }]);
        expect(ownerOf(server.postmasterPid())).not.toBe(0);
      } finally {
        await server.stop();
      }
    });
  }
});

type Host = { readonly process: ChildProcess; readonly postmasterPid: number; readonly connectionString: string };

async function startHost(dataDirectory: string): Promise<Host> {
  const script = fileURLToPath(new URL('./testing/embedded-host.js', import.meta.url));
  const host = spawn(process.execPath, [script, dataDirectory], { stdio: ['pipe', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: host.stdout })) return { process: host, ...JSON.parse(line) };
  throw new Error('the host ended before Postgres was up');
}

async function query(connectionString: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

function kill(pid: number | null): void {
  if (pid === null) throw new Error('there is no such process');
  process.kill(pid, 'SIGKILL');
}

/** Whether the process runs; a zombie that nobody has reaped yet does not. */
function isAlive(pid: number | null): boolean {
  return pid !== null && statOf(pid) !== null && statOf(pid)?.[0] !== 'Z';
}

function processGroupOf(pid: number): string | undefined {
  return statOf(pid)?.[2];
}

/** Fields of /proc/pid/stat from the state on, or `null` when the process is gone. */
function statOf(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}

function ownerOf(pid: number | null): number {
  return Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** The shell that ends this Postgres when its parent dies. */
function watcherOf(postmasterPid: number | null): number | null {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
      if (command.includes('farebox-postgres-watcher') && command.includes(String(postmasterPid))) return Number(name);
    } catch {
      // Processes come and go while the list is read.
    }
  }
  return null;
}
