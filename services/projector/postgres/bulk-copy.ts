/** Streams rows into a table with COPY, in the text format of the PostgreSQL documentation ("COPY", section "Text Format"). */
import { once } from 'node:events';
import { finished } from 'node:stream/promises';
import type { ClientBase } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';

/** Rows are gathered to about this many characters before they are sent; fewer, larger writes cost less. */
const CHUNK_CHARACTERS = 256 * 1024;

export type BulkColumn<Row> = readonly [name: string, type: string, value: (row: Row) => unknown];

export type BulkCopy<Row> = {
  /** Waits while the server is behind, so that memory stays bounded. */
  write(rows: readonly Row[]): Promise<void>;
  /** Resolves when the server has taken every row. */
  end(): Promise<void>;
};

export function bulkCopy<Row>(client: ClientBase, table: string, columns: readonly BulkColumn<Row>[]): BulkCopy<Row> {
  const names = columns.map(([name]) => name).join(', ');
  const stream = client.query(copyFrom(`copy ${table} (${names}) from stdin`));
  const values = columns.map(([, , value]) => value);
  const last = values.length - 1;
  const done = finished(stream);
  // Waited for in `end`; until then a failure must not count as unhandled.
  done.catch(() => {});
  return {
    async write(rows) {
      let chunk = '';
      for (const row of rows) {
        for (let index = 0; index <= last; index += 1) {
          chunk += fieldOf(values[index]?.(row));
          chunk += index === last ? '\n' : '\t';
        }
        if (chunk.length < CHUNK_CHARACTERS) continue;
        if (!stream.write(chunk)) await Promise.race([once(stream, 'drain'), done]);
        chunk = '';
      }
      if (chunk !== '' && !stream.write(chunk)) await Promise.race([once(stream, 'drain'), done]);
    },
    async end() {
      stream.end();
      await done;
    },
  };
}

const NEEDS_ESCAPE = /[\\\t\n\r]/;
const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

/** Times repeat within a burst of events; formatting one costs more than remembering it. */
let lastTime = { ms: Number.NaN, text: '' };

function fieldOf(value: unknown): string {
  if (value === null || value === undefined) return '\\N';
  if (typeof value === 'string')
    return NEEDS_ESCAPE.test(value) ? value.replace(/[\\\t\n\r]/g, (character) => ESCAPES[character] ?? '') : value;
  if (value instanceof Date) {
    const ms = value.getTime();
    if (ms !== lastTime.ms) lastTime = { ms, text: value.toISOString() };
    return lastTime.text;
  }
  return String(value);
}
