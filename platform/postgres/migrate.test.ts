/** Migrations: each once, in order, whole or not at all, and never changed afterwards. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { createTestDatabase, type TestDatabase } from '../testing/postgres-for-tests.js';
import { MigrationError, type MigrationSource, migrate } from './migrate.js';

const logger = pino({ level: 'silent' });
let database: TestDatabase;
let root: string;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'farebox-migrate-'));
  database = await createTestDatabase();
});

afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  await database.drop();
});

function source(owner: string, files: Readonly<Record<string, string>>): MigrationSource {
  const folder = join(root, owner);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const [name, sql] of Object.entries(files)) writeFileSync(join(folder, name), sql);
  return { owner, folder: pathToFileURL(folder) };
}

const run = (...sources: MigrationSource[]) => migrate({ pool: database.pool, logger, sources });
const tableExists = async (name: string) =>
  (await database.pool.query<{ found: boolean }>('select to_regclass($1) is not null as found', [name])).rows[0]?.found;

const FIRST = { '0001-first.sql': 'create table first (id int); insert into first values (1);' };
const SECOND = { '0002-second.sql': 'create table second (id int);' };

describe('migrate', () => {
  test('applies each file once, in order, for several owners', async () => {
    expect(await run(source('a', { ...SECOND, ...FIRST }), source('b', { '0001-other.sql': 'create table other (id int);' }))).toEqual([
      'a/0001-first.sql',
      'a/0002-second.sql',
      'b/0001-other.sql',
    ]);
    expect(await run(source('a', { ...SECOND, ...FIRST }), source('b', { '0001-other.sql': 'create table other (id int);' }))).toEqual([]);
    expect((await database.pool.query('select * from first')).rows).toEqual([{ id: 1 }]);
  });

  test('processes that start together apply each file once', async () => {
    const files = source('a', { ...FIRST, ...SECOND });
    const applied = await Promise.all([run(files), run(files), run(files)]);
    expect(applied.flat().sort()).toEqual(['a/0001-first.sql', 'a/0002-second.sql']);
  });

  test('a file that fails leaves nothing behind and keeps those before it', async () => {
    const broken = source('a', { ...FIRST, '0002-broken.sql': 'create table half (id int); select * from nowhere;' });
    await expect(run(broken)).rejects.toThrow(/a\/0002-broken\.sql failed: relation "nowhere" does not exist/);
    expect([await tableExists('first'), await tableExists('half')]).toEqual([true, false]);
    expect(await run(source('a', { ...FIRST, ...SECOND }))).toEqual(['a/0002-second.sql']);
  });

  test.each<[string, Readonly<Record<string, string>>, RegExp]>([
    ['changed', { '0002-second.sql': 'create table changed (id int);' }, /was changed after it had been applied/],
    ['unknown to this build', {}, /unknown to this build/],
    ['preceded by a new one', { ...SECOND, '0001-late.sql': 'create table late (id int);' }, /numbered before/],
    ['numbered like another', { ...SECOND, '0002-twin.sql': 'select 1' }, /two migrations numbered 0002/],
    ['joined by a misnamed one', { ...SECOND, 'third.sql': 'select 1' }, /not named NNNN-name\.sql/],
  ])('an applied file that is %s is refused', async (_name, files, message) => {
    await run(source('a', SECOND));
    const refused = run(source('a', files));
    await expect(refused).rejects.toThrow(MigrationError);
    await expect(refused).rejects.toThrow(message);
  });
});
