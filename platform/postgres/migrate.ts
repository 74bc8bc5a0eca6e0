/**
 * Brings a database to the shape that this build expects. Each owner has a folder of `NNNN-name.sql` files; each file is applied once, in
 * order, in a transaction of its own, and never changes afterwards. Any number of processes may start at once: one migrates, the others wait.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import type { Pool, PoolClient } from 'pg';
import type { Logger } from 'pino';

/** Key of the advisory lock under which migrations run; any number that nobody else uses. */
const MIGRATION_LOCK = 4_182_775_031;
const FILE_NAME = /^\d{4}-[a-z0-9-]+\.sql$/;

export type MigrationSource = {
  /** Who owns the files, such as `event-store`; names are unique within an owner. */
  readonly owner: string;
  /** The folder, as `packageFile('events/store/postgres/migrations/')` finds it. */
  readonly folder: URL;
};

/** The database and the files do not fit together; nothing of the offending file was applied. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
}

type MigrationFile = { readonly name: string; readonly sql: string; readonly sha256: string };

/** Applies what is missing, owner by owner in the order given, and returns it as `owner/file`. Throws `MigrationError`. */
export async function migrate(options: {
  readonly pool: Pool;
  readonly logger: Logger;
  readonly sources: readonly MigrationSource[];
}): Promise<string[]> {
  const sources = options.sources.map(({ owner, folder }) => ({ owner, files: readMigrations(owner, folder) }));
  const client = await options.pool.connect();
  let failure: Error | undefined;
  try {
    // Waiting for another process to migrate, and migrating itself, may take longer than any statement of a request.
    await client.query('set statement_timeout = 0');
    await client.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]);
    await createRecord(client);
    const applied: string[] = [];
    for (const { owner, files } of sources) applied.push(...(await migrateOwner(client, owner, files)));
    for (const name of applied) options.logger.info({ migration: name }, 'migration applied');
    return applied;
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error));
    throw failure;
  } finally {
    // Closing the connection gives back the lock and the timeout with it.
    client.release(failure ?? true);
  }
}

function readMigrations(owner: string, folder: URL): MigrationFile[] {
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.sql'))
    .sort();
  const numbers = new Set<string>();
  for (const name of names) {
    if (!FILE_NAME.test(name)) throw new MigrationError(`${owner}/${name} is not named NNNN-name.sql`);
    const number = name.slice(0, 4);
    if (numbers.has(number)) throw new MigrationError(`${owner} has two migrations numbered ${number}`);
    numbers.add(number);
  }
  const base = folder.href.endsWith('/') ? folder : new URL(`${folder.href}/`);
  return names.map((name) => {
    const sql = readFileSync(new URL(name, base), 'utf8');
    return { name, sql, sha256: createHash('sha256').update(sql).digest('hex') };
  });
}

async function createRecord(client: PoolClient): Promise<void> {
  await client.query(`
    create schema if not exists platform;
    create table if not exists platform.migrations (
      owner text not null,
      name text not null,
      sha256 text not null,
      applied_at timestamptz not null default now(),
      primary key (owner, name)
    )`);
}

async function migrateOwner(client: PoolClient, owner: string, files: readonly MigrationFile[]): Promise<string[]> {
  const { rows } = await client.query<{ name: string; sha256: string }>('select name, sha256 from platform.migrations where owner = $1', [
    owner,
  ]);
  const recorded = new Map(rows.map(({ name, sha256 }) => [name, sha256]));
  const newest = [...recorded.keys()].sort().at(-1) ?? '';
  for (const name of recorded.keys()) {
    if (!files.some((file) => file.name === name)) {
      throw new MigrationError(
        `${owner}/${name} was applied to this database and is unknown to this build: the database belongs to a newer one`,
      );
    }
  }
  const applied: string[] = [];
  for (const file of files) {
    const sha256 = recorded.get(file.name);
    if (sha256 === undefined) {
      if (file.name < newest)
        throw new MigrationError(`${owner}/${file.name} is new and numbered before ${newest}, which was applied already`);
      await applyFile(client, owner, file);
      applied.push(`${owner}/${file.name}`);
    } else if (sha256 !== file.sha256) {
      throw new MigrationError(`${owner}/${file.name} was changed after it had been applied; add a new file instead`);
    }
  }
  return applied;
}

async function applyFile(client: PoolClient, owner: string, file: MigrationFile): Promise<void> {
  await client.query('begin');
  try {
    await client.query(file.sql);
    await client.query('insert into platform.migrations (owner, name, sha256) values ($1, $2, $3)', [owner, file.name, file.sha256]);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw new MigrationError(`${owner}/${file.name} failed: ${(error as Error).message}`, { cause: error });
  }
}
