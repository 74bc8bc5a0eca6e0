/** Why the embedded Postgres cannot run, in words that say what to do about it. */

export class EmbeddedPostgresError extends Error {
  override readonly name = 'EmbeddedPostgresError';
}

/** Causes that Postgres and initdb report in their own words, and what an operator makes of them. First match wins. */
const KNOWN_FAULTS: readonly (readonly [RegExp, string])[] = [
  [
    /No space left on device/i,
    'The disk of the data directory is full. Free some space and start again; nothing that was acknowledged is lost.',
  ],
  [/Read-only file system/i, 'The data directory is on a read-only file system. Set FAREBOX_DATA_DIR to a writable place.'],
  [/could not look up effective user ID/i, 'The current user has no entry in /etc/passwd, which Postgres needs once, for its first start.'],
  [
    /cannot be run as root|execution of the PostgreSQL server is not permitted/i,
    'Postgres refuses to run as root, and no other user could be used.',
  ],
  [
    /has wrong ownership|has group or world access|Permission denied/i,
    'Postgres may not use the data directory. It must belong to the user that starts Farebox.',
  ],
  [
    /could not create shared memory segment|Cannot allocate memory|could not map anonymous shared memory/i,
    'There is not enough memory for Postgres.',
  ],
  [
    /version `GLIBC|error while loading shared libraries|Symbol not found/i,
    'The Postgres binaries do not fit the libraries of this system (they need glibc on Linux).',
  ],
  [
    /could not locate a valid checkpoint record|invalid page in block|could not read file|PANIC/i,
    'The data directory is damaged. Restore it from a backup, or move it away to start empty.',
  ],
];

/** What to tell the operator, from the last lines that Postgres or initdb wrote. */
export function explainPostgresOutput(what: string, output: string): EmbeddedPostgresError {
  const advice = KNOWN_FAULTS.find(([pattern]) => pattern.test(output))?.[1];
  const said = output.trim() === '' ? 'It said nothing.' : `It said:\n${output.trim()}`;
  return new EmbeddedPostgresError(`${what}.${advice === undefined ? '' : ` ${advice}`} ${said}`);
}

/** A binary that could not even be started. */
export function explainSpawnError(binary: string, error: NodeJS.ErrnoException): EmbeddedPostgresError {
  const causes: Readonly<Record<string, string>> = {
    // The file exists (it was looked for before), so what is missing is the loader it names: musl instead of glibc.
    ENOENT: 'the program loader it needs is missing; on Linux it needs glibc (Alpine has musl)',
    ENOEXEC: `it is not made for this processor (${process.platform}-${process.arch})`,
    EACCES: 'it may not be executed (mode, or a file system mounted noexec)',
  };
  const cause = causes[error.code ?? ''] ?? error.message;
  return new EmbeddedPostgresError(`${binary} cannot be started: ${cause}. Set DATABASE_URL to use a Postgres server of your own.`);
}
