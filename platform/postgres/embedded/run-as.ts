/**
 * Decides as whom Postgres runs. It refuses root, so a Farebox that was started as root gives it another user: the owner of the data
 * directory, else `postgres`, else `nobody`.
 *
 * That user may be unable to reach the data or the binaries, because a directory above them is closed (`/root` is, everywhere). Then, and
 * only then, Postgres gets one capability that lets it pass: CAP_DAC_READ_SEARCH, or CAP_DAC_OVERRIDE in containers that lack the former.
 * util-linux's `setpriv` hands it over. Postgres asks access(2), which ignores the capabilities of a user that is not root unless the secure
 * bit `no_setuid_fixup` is set (capabilities(7)). A capability adds nothing to what the root process that starts Postgres may do.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { existsSync, readFileSync, type Stats, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';

export type PostgresUser = {
  readonly uid: number;
  readonly gid: number;
  /** A command that runs its arguments as that user with a capability; `null` when no capability is needed. */
  readonly throughSetpriv: readonly string[] | null;
};

/** Bits of the capability set in /proc/self/status, from linux/capability.h. */
const CAPABILITY_BITS = { dac_override: 1n, dac_read_search: 2n, setpcap: 8n } as const;

/**
 * The user to run Postgres as, or `null` for the current one. `clusterDirectory` need not exist yet. Throws `EmbeddedPostgresError` when there
 * is no way.
 */
export function choosePostgresUser(paths: { readonly clusterDirectory: string; readonly binariesDirectory: string }): PostgresUser | null {
  if (process.getuid?.() !== 0) return null;
  const { uid, gid } = unprivilegedUser(paths.clusterDirectory);
  const blocked = [dirname(paths.clusterDirectory), join(paths.binariesDirectory, 'bin'), join(paths.binariesDirectory, 'lib')]
    .map((path) => firstClosedDirectory(path, uid, gid))
    .find((path) => path !== null);
  if (blocked === undefined) return { uid, gid, throughSetpriv: null };
  const advice = `Postgres refuses to run as root, and the user it would run as (uid ${uid}) may not enter ${blocked}`;
  return { uid, gid, throughSetpriv: setprivCommand(uid, gid, advice) };
}

/** Starts `command` as `user`. */
export function spawnAs(user: PostgresUser | null, command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  if (user === null) return spawn(command, args, options);
  const [setpriv, ...setprivArgs] = user.throughSetpriv ?? [];
  if (setpriv !== undefined) return spawn(setpriv, [...setprivArgs, command, ...args], options);
  return spawn(command, args, { ...options, uid: user.uid, gid: user.gid });
}

/** The outermost directory on the way to `path` that the user may not enter, or `null`. Looks at mode bits only. */
export function firstClosedDirectory(path: string, uid: number, gid: number): string | null {
  const parent = dirname(path);
  const above = parent === path ? null : firstClosedDirectory(parent, uid, gid);
  if (above !== null || !existsSync(path)) return above;
  return mayEnter(statSync(path), uid, gid) ? null : path;
}

function mayEnter(stats: Stats, uid: number, gid: number): boolean {
  if (stats.uid === uid) return (stats.mode & 0o100) !== 0;
  return (stats.mode & (stats.gid === gid ? 0o010 : 0o001)) !== 0;
}

function unprivilegedUser(clusterDirectory: string): { uid: number; gid: number } {
  if (existsSync(clusterDirectory)) {
    const { uid, gid } = statSync(clusterDirectory);
    if (uid !== 0) return { uid, gid };
  }
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .map(([name, , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }));
  const ownerUid = statSync(nearestExisting(dirname(clusterDirectory))).uid;
  // An owner without an entry in /etc/passwd is no use: initdb looks its name up.
  const owner = ownerUid === 0 ? undefined : users.find(({ uid }) => uid === ownerUid);
  const user = owner ?? users.find(({ name }) => name === 'postgres') ?? users.find(({ name }) => name === 'nobody');
  if (user === undefined) {
    throw new EmbeddedPostgresError('Postgres refuses to run as root, and this system has neither a user `postgres` nor `nobody`.');
  }
  return { uid: user.uid, gid: user.gid };
}

function nearestExisting(path: string): string {
  return existsSync(path) ? path : nearestExisting(dirname(path));
}

function setprivCommand(uid: number, gid: number, advice: string): string[] {
  const way = 'Open that directory (chmod o+x), start Farebox as an ordinary user, or set FAREBOX_DATA_DIR and the checkout elsewhere.';
  const setpriv = ['/usr/bin/setpriv', '/bin/setpriv'].find((path) => existsSync(path));
  if (setpriv === undefined) throw new EmbeddedPostgresError(`${advice}. ${way}`);
  const held = effectiveCapabilities();
  const holds = (name: keyof typeof CAPABILITY_BITS) => (held & (1n << CAPABILITY_BITS[name])) !== 0n;
  const capability = holds('dac_read_search') ? 'dac_read_search' : 'dac_override';
  if (!holds(capability) || !holds('setpcap')) throw new EmbeddedPostgresError(`${advice}. ${way}`);
  const caps = [`--inh-caps=+${capability}`, `--ambient-caps=+${capability}`, '--securebits=+no_setuid_fixup'];
  return [setpriv, `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', ...caps, '--'];
}

function effectiveCapabilities(): bigint {
  const line = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return line?.[1] === undefined ? 0n : BigInt(`0x${line[1]}`);
}
