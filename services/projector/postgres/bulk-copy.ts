/** Streams rows into a table with COPY's text format: the cheapest way into Postgres. */
import { once } from 'node:events';
import { finished } from 'node:stream/promises';
import type { ClientBase } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import type { Column } from './columns.js';
import { copyField } from './postgres-text.js';

/** Rows are gathered to about this many characters before they are sent; fewer, larger writes cost less. */
const CHUNK_CHARACTERS = 64 * 1024;

/** Bytes that may wait for the server before a writer does: enough to fold the next page meanwhile. */
const UNSENT_BYTES_MAX = 1024 * 1024;

export type BulkCopy<Row> = {
  /** Waits while the server is behind, so that memory stays bounded. */
  write(rows: readonly Row[]): Promise<void>;
  /** Resolves when the server has taken every row. */
  end(): Promise<void>;
  /** Calls the COPY off; the connection can then be rolled back. Resolves when the server has agreed. */
  abort(cause: Error): Promise<void>;
};

export function bulkCopy<Row>(client: ClientBase, table: string, columns: readonly Column<Row>[]): BulkCopy<Row> {
  const names = columns.map(({ name }) => name).join(', ');
  const stream = client.query(copyFrom(`copy ${table} (${names}) from stdin`, { highWaterMark: UNSENT_BYTES_MAX }));
  const done = finished(stream);
  // Waited for below; until then a failure must not count as unhandled.
  done.catch(() => {});
  const send = async (chunk: string) => {
    if (!stream.write(chunk)) await Promise.race([once(stream, 'drain'), done]);
  };
  return {
    async write(rows) {
      let chunk = '';
      for (const row of rows) {
        chunk += copyLine(columns, row);
        if (chunk.length < CHUNK_CHARACTERS) continue;
        await send(chunk);
        chunk = '';
      }
      if (chunk !== '') await send(chunk);
    },
    async end() {
      stream.end();
      await done;
    },
    async abort(cause) {
      stream.destroy(cause);
      await done.catch(() => {});
    },
  };
}

function copyLine<Row>(columns: readonly Column<Row>[], row: Row): string {
  let line = '';
  let separator = '';
  for (const { type, text } of columns) {
    const value = text(row);
    // Only text can hold what needs an escape; numbers, times and UUIDs need not be searched for it.
    line += separator + (type === 'text' || value === null ? copyField(value) : value);
    separator = '\t';
  }
  return `${line}\n`;
}
