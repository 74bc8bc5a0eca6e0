/** The schema that a rebuild fills: the same tables as the one that is read, with the same names, keys, indexes and storage settings. */
import type { ClientBase, Pool } from 'pg';
import { inTransaction } from '../../../platform/postgres/transactions.js';
import { USAGE_QUARTER_COLUMNS } from './columns.js';

/** Building indexes is much of what Postgres does in a rebuild; sorts of a few million keys stay in memory. */
const INDEX_MEMORY = '256MB';

/** Indexes built at the same time: one per core of a small machine. */
const INDEX_BUILDS_MAX = 2;

export const REBUILD_SCHEMA = 'read_model_rebuild';
/** Where the views that were replaced wait for their last readers to finish. */
const REPLACED_SCHEMA = 'read_model_replaced';

/** Starts over, whatever an earlier rebuild left behind. */
export async function createRebuildSchema(pool: Pool): Promise<void> {
  await inTransaction(pool, async (client) => {
    await client.query(`drop schema if exists ${REBUILD_SCHEMA} cascade`);
    await client.query(`drop schema if exists ${REPLACED_SCHEMA} cascade`);
    await client.query(`create schema ${REBUILD_SCHEMA}`);
    const { rows } = await client.query<{ name: string; options: string | null }>(
      `select quote_ident(relname) as name, array_to_string(reloptions, ', ') as options
       from pg_class where relnamespace = 'read_model'::regnamespace and relkind = 'r' order by relname`,
    );
    for (const { name, options } of rows) {
      const storage = options === null ? '' : ` with (${options})`;
      await client.query(`create table ${REBUILD_SCHEMA}.${name} (like read_model.${name} including all excluding indexes)${storage}`);
    }
  });
}

/** A table for sums that are not final: rows of one key are added up by `addUpUsage`. */
export const USAGE_PARTS = `${REBUILD_SCHEMA}.usage_parts`;

export async function createUsageParts(pool: Pool): Promise<void> {
  await pool.query(`create table ${USAGE_PARTS} (like read_model.usage_quarters)`);
}

/** Fills the view with the sums of its parts. */
export async function addUpUsage(pool: Pool): Promise<void> {
  const names = USAGE_QUARTER_COLUMNS.map(({ name }) => name);
  const [keys, sums] = [names.slice(0, 5).join(', '), names.slice(5)];
  await inUnboundedTransaction(pool, async (client) => {
    await client.query(
      `insert into ${REBUILD_SCHEMA}.usage_quarters (${names.join(', ')})
       select ${keys}, ${sums.map((name) => `sum(${name})`).join(', ')} from ${USAGE_PARTS} group by ${keys}`,
    );
    await client.query(`drop table ${USAGE_PARTS}`);
  });
}

/** Gives the filled tables the keys and indexes of those that they will replace, under the same names. */
export async function createIndexes(pool: Pool): Promise<void> {
  const { rows } = await pool.query<{ table: string; index: string; definition: string; isPrimary: boolean }>(
    `select quote_ident(t.relname) as table, quote_ident(i.relname) as index, pg_get_indexdef(x.indexrelid) as definition,
            x.indisprimary as "isPrimary"
     from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class t on t.oid = x.indrelid
     where t.relnamespace = 'read_model'::regnamespace order by pg_relation_size(t.oid) desc`,
  );
  const waiting = rows.values();
  const buildOneByOne = async () => {
    for (const { table, index, definition, isPrimary } of waiting) {
      await inUnboundedTransaction(pool, async (client) => {
        await client.query(`set local maintenance_work_mem = '${INDEX_MEMORY}'`);
        await client.query(definition.replace(' ON read_model.', ` ON ${REBUILD_SCHEMA}.`));
        if (isPrimary) await client.query(`alter table ${REBUILD_SCHEMA}.${table} add primary key using index ${index}`);
      });
    }
  };
  await Promise.all(Array.from({ length: INDEX_BUILDS_MAX }, buildOneByOne));
  await analyze(
    pool,
    rows.map(({ table }) => table),
  );
}

/** Enough for good plans at once; a full sample cost a tenth of the rebuild, and autovacuum takes it soon anyway. */
const FIRST_STATISTICS_TARGET = 10;

async function analyze(pool: Pool, names: readonly string[]): Promise<void> {
  const tables = [...new Set(names.map((name) => `${REBUILD_SCHEMA}.${name}`))];
  await inUnboundedTransaction(pool, async (client) => {
    await client.query(`set local default_statistics_target = ${FIRST_STATISTICS_TARGET}`);
    await client.query(`analyze ${tables.join(', ')}`);
  });
}

/** Readers that have begun finish on the old tables; whoever asks next finds the new ones. To be called in a transaction. */
export async function swapSchemas(client: ClientBase): Promise<void> {
  await client.query(`alter schema read_model rename to ${REPLACED_SCHEMA}`);
  await client.query(`alter schema ${REBUILD_SCHEMA} rename to read_model`);
}

/** Waits for readers of the old tables. */
export async function dropReplacedSchema(pool: Pool): Promise<void> {
  await inUnboundedTransaction(pool, (client) => client.query(`drop schema if exists ${REPLACED_SCHEMA} cascade`));
}

/** The pool's limit on a statement is meant for requests; these take as long as the log is. */
function inUnboundedTransaction<Result>(pool: Pool, work: (client: ClientBase) => Promise<Result>): Promise<Result> {
  return inTransaction(pool, work, 'begin; set local statement_timeout = 0');
}
