/** Where Postgres listens: a Unix socket that only its user and root can reach. There is no TCP port to guess, pick or guard. */
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, lstatSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';
import type { PostgresUser } from './run-as.js';

/** Part of the socket's name only. */
export const SOCKET_PORT = 5432;

/** Longest path of a Unix socket: `sun_path` without its terminator, 108 bytes on Linux and 104 on macOS (unix(7)). */
const SOCKET_PATH_BYTES_MAX = process.platform === 'darwin' ? 103 : 107;
const LONGEST_SOCKET_NAME = `.s.PGSQL.${SOCKET_PORT}.lock`;

/** The directory of the sockets: inside `dataDirectory`, or a short one of the same identity where that path is too long. */
export function socketDirectoryFor(dataDirectory: string): string {
  const inside = join(dataDirectory, 'run');
  if (Buffer.byteLength(join(inside, LONGEST_SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX) return inside;
  const identity = createHash('sha256').update(dataDirectory).digest('hex').slice(0, 16);
  return join(tmpdir(), `farebox-${identity}`);
}

/** Makes the directory for `user` alone. Refuses one that somebody else has put there, as anybody could in a shared temporary directory. */
export function openSocketDirectory(directory: string, user: PostgresUser | null): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const stats = lstatSync(directory);
  const ownUid = process.getuid?.() ?? stats.uid;
  const wantedUid = user?.uid ?? ownUid;
  if (!stats.isDirectory() || (stats.uid !== wantedUid && stats.uid !== ownUid)) {
    throw new EmbeddedPostgresError(
      `${directory} belongs to somebody else (uid ${stats.uid}); remove it or set FAREBOX_DATA_DIR to another place.`,
    );
  }
  if (user !== null) chownSync(directory, user.uid, user.gid);
  chmodSync(directory, 0o700);
}
