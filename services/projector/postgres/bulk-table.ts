/**
 * Fills a table that nobody reads yet with COPY, in transactions of bounded length: readers of the event store stay below the oldest open
 * transaction of their database, so one as long as a rebuild would hold up the live projection for all that time.
 */
import type { Pool, PoolClient } from 'pg';
import { type BulkCopy, bulkCopy } from './bulk-copy.js';
import type { Column } from './columns.js';

/** Rows of one COPY: a fraction of a second. */
export const COPY_ROWS_MAX = 50_000;

export type BulkTable<Row> = {
  write(rows: readonly Row[]): Promise<void>;
  /** Resolves when every row is committed, and gives the connection back. */
  end(): Promise<void>;
  /** Gives up: what was committed stays, the rest is called off. */
  abort(cause: Error): Promise<void>;
};

export async function openBulkTable<Row>(pool: Pool, table: string, columns: readonly Column<Row>[]): Promise<BulkTable<Row>> {
  const client: PoolClient = await pool.connect();
  let copy: BulkCopy<Row> | null = null;
  let rowsOfCopy = 0;
  // What a crash loses here is built anew anyway; the transaction that swaps the schemas waits for the disk, and so for all before it.
  await client.query('set synchronous_commit = off').catch((error: Error) => {
    client.release(error);
    throw error;
  });
  // Closed rather than reused, and the setting with it.
  let isReleased = false;
  const release = () => {
    if (!isReleased) client.release(true);
    isReleased = true;
  };
  const endCopy = async () => {
    await copy?.end();
    copy = null;
    rowsOfCopy = 0;
  };
  return {
    async write(rows) {
      if (rows.length === 0) return;
      copy ??= bulkCopy(client, table, columns);
      await copy.write(rows);
      rowsOfCopy += rows.length;
      if (rowsOfCopy >= COPY_ROWS_MAX) await endCopy();
    },
    async end() {
      await endCopy();
      release();
    },
    async abort(cause) {
      if (!isReleased) await copy?.abort(cause);
      release();
    },
  };
}

/** Writes `rows` as the whole content of `table`. */
export async function fillTable<Row>(pool: Pool, table: string, columns: readonly Column<Row>[], rows: Iterable<Row>): Promise<void> {
  const bulk = await openBulkTable(pool, table, columns);
  try {
    let batch: Row[] = [];
    for (const row of rows) {
      batch.push(row);
      if (batch.length < COPY_ROWS_MAX) continue;
      await bulk.write(batch);
      batch = [];
    }
    await bulk.write(batch);
  } catch (error) {
    await bulk.abort(error as Error);
    throw error;
  }
  await bulk.end();
}
