/** What is written as text comes back as it was, whatever people put into names, reasons and terms. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { TestDatabase } from '../../../platform/testing/postgres-for-tests.js';
import { openProjectorDatabase } from '../testing/projector-database.js';
import { fillTable } from './bulk-table.js';
import { arrayLiteral, timeText } from './postgres-text.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await openProjectorDatabase();
  await database.pool.query('create table texts (n integer not null, text text)');
});
afterAll(() => database.drop());

// Postgres text holds every character but NUL, and no half surrogate.
const text = fc
  .string({
    unit: fc.oneof(
      fc.constantFrom('\\', '"', '\t', '\n', '\r', ',', '{', '}', '\\N', 'NULL', "'", ' '),
      fc.string({ unit: 'grapheme', maxLength: 3 }),
    ),
  })
  .map((value) => value.replaceAll('\0', ''));
const texts = fc.array(fc.option(text), { minLength: 1, maxLength: 30 });

test('in arrays', async () => {
  await fc.assert(
    fc.asyncProperty(texts, async (values) => {
      const { rows } = await database.pool.query<{ values: (string | null)[] }>('select $1::text[] as values', [arrayLiteral(values)]);
      expect(rows[0]?.values).toEqual(values);
    }),
    { numRuns: 100 },
  );
});

test('in COPY', async () => {
  const columns = [
    { name: 'n', type: 'integer', text: (row: { n: number }) => row.n },
    { name: 'text', type: 'text', text: (row: { text: string | null }) => row.text },
  ];
  await fc.assert(
    fc.asyncProperty(texts, async (values) => {
      await database.pool.query('truncate texts');
      await fillTable(
        database.pool,
        'texts',
        columns,
        values.map((value, n) => ({ n, text: value })),
      );
      const { rows } = await database.pool.query<{ text: string | null }>('select text from texts order by n');
      expect(rows.map((row) => row.text)).toEqual(values);
    }),
    { numRuns: 25 },
  );
});

test('times are those of Date', () => {
  fc.assert(
    fc.property(fc.array(fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true })), (dates) => {
      for (const date of dates) expect(timeText(date.getTime())).toBe(date.toISOString());
    }),
  );
});
