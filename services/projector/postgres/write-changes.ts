/**
 * Writes a page's changes: one batched part per table, all parts and the checkpoint in one statement. A page of few events costs what its
 * round trips cost, so there is one.
 */
import type { ClientBase } from 'pg';
import type { AccountBalanceChange } from '../domain/account-balances.js';
import { BrokenBooksError } from '../domain/broken-books-error.js';
import type { ReadModelChanges } from '../domain/read-model-changes.js';
import {
  ACCOUNT_BALANCE_COLUMNS,
  ACCOUNT_MOVEMENT_COLUMNS,
  CONSUMER_BILLING_COLUMNS,
  type Column,
  JOURNAL_COLUMNS,
  PAYMENT_COLUMNS,
  REQUEST_COLUMNS,
  REQUEST_ENDING_COLUMNS,
  TRIAL_BALANCE_COLUMNS,
  USAGE_QUARTER_COLUMNS,
} from './columns.js';
import { arrayLiteral } from './postgres-text.js';

/** Where views are built: the one that is read, or the one that a rebuild will put in its place. */
export type ReadModelSchema = 'read_model' | 'read_model_rebuild';

/** Name of the one projection that writes all views together. */
export const READ_MODEL_PROJECTION = 'read_model';

/** What is to be written, and on top of what. */
export type Page = {
  readonly changes: ReadModelChanges;
  /** Accounts that the views knew before this page. */
  readonly knownAccounts: ReadonlySet<string>;
  /** Position of the page's last event. */
  readonly position: string;
};

/** A data-modifying part of the statement. `source` names the rows `change`. */
type Part = {
  readonly name: string;
  /** Whether every row must find one to change: anything else means that the views and the log have parted. */
  readonly mustFindAll: boolean;
  readonly sql: (schema: ReadModelSchema, source: string) => string;
  readonly columnNames: readonly string[];
  readonly columnTypes: readonly string[];
  /** Array literals, one per column; `null` for no rows. */
  readonly arraysOf: (page: Page) => { readonly rows: number; readonly arrays: readonly string[] } | null;
};

function part<Row>(definition: {
  readonly name: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: (page: Page) => readonly Row[];
  readonly sql: Part['sql'];
  readonly mustFindAll?: boolean;
}): Part {
  const { name, columns, sql } = definition;
  return {
    name,
    sql,
    mustFindAll: definition.mustFindAll ?? false,
    columnNames: columns.map(({ name }) => name),
    columnTypes: columns.map(({ type }) => type),
    arraysOf(page) {
      const rows = definition.rows(page);
      return rows.length === 0 ? null : { rows: rows.length, arrays: columns.map(({ text }) => arrayLiteral(rows.map(text))) };
    },
  };
}

/** Rows in the order of their keys: transactions that touch the same rows wait for each other instead of deadlocking. */
function byKey<Row>(rows: ReadonlyMap<string, Row>): Row[] {
  return [...rows].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, row]) => row);
}

const namesOf = (columns: readonly Column<never>[]) => columns.map(({ name }) => name).join(', ');
const sumsOf = (table: string, names: readonly string[], added: string) =>
  names.map((name) => `${name} = ${table}.${name} + ${added}.${name}`).join(', ');

/** Inserts `change`, adding to what is there already. */
function upsertSums(table: string, columns: readonly Column<never>[], keys: readonly string[], sums: readonly string[], also = '') {
  const names = namesOf(columns);
  return (schema: ReadModelSchema, source: string) =>
    `insert into ${schema}.${table} (${names}) select ${names} from ${source}
     on conflict (${keys.join(', ')}) do update set ${sumsOf(table, sums, 'excluded')}${also}`;
}

function insert(table: string, columns: readonly Column<never>[]) {
  const names = namesOf(columns);
  return (schema: ReadModelSchema, source: string) => `insert into ${schema}.${table} (${names}) select ${names} from ${source}`;
}

const BALANCE_SUMS = ['available_nanos', 'held_nanos', 'charged_nanos', 'granted_nanos'];
const USAGE_SUMS = USAGE_QUARTER_COLUMNS.slice(5).map(({ name }) => name);

function accountChanges({ changes, knownAccounts }: Page, isKnown: boolean): AccountBalanceChange[] {
  return byKey(changes.accountBalances).filter(({ account }) => knownAccounts.has(account.accountId) === isKnown);
}

const PARTS: readonly Part[] = [
  // A plain insert: should another projector have opened the account meanwhile, this transaction fails and the page is folded again.
  part({
    name: 'accounts_opened',
    columns: ACCOUNT_BALANCE_COLUMNS,
    rows: (page) => accountChanges(page, false),
    sql: insert('account_balances', ACCOUNT_BALANCE_COLUMNS),
  }),
  part({
    name: 'accounts_moved',
    columns: ACCOUNT_MOVEMENT_COLUMNS,
    rows: (page) => accountChanges(page, true),
    mustFindAll: true,
    sql: (schema, source) =>
      `update ${schema}.account_balances set ${sumsOf('account_balances', BALANCE_SUMS, 'change')},
         revision = change.revision, updated_at = change.updated_at
       from ${source} where account_balances.account_id = change.account_id and account_balances.revision < change.revision`,
  }),
  part({
    name: 'requests_begun',
    columns: REQUEST_COLUMNS,
    rows: ({ changes }) => byKey(changes.requests).filter((request) => request.reserved !== null),
    sql: insert('requests', REQUEST_COLUMNS),
  }),
  part({
    name: 'requests_ended',
    columns: REQUEST_ENDING_COLUMNS,
    rows: ({ changes }) => byKey(changes.requests).filter((request) => request.reserved === null),
    mustFindAll: true,
    sql: (schema, source) => {
      const [, ...columns] = REQUEST_ENDING_COLUMNS.map(({ name }) => name);
      const sets = columns.map((name) => `${name} = coalesce(change.${name}, requests.${name})`).join(', ');
      return `update ${schema}.requests set ${sets} from ${source} where requests.run_id = change.run_id`;
    },
  }),
  part({
    name: 'usage_quarters',
    columns: USAGE_QUARTER_COLUMNS,
    rows: ({ changes }) => byKey(changes.usageQuarters),
    sql: upsertSums('usage_quarters', USAGE_QUARTER_COLUMNS, ['project_id', 'quarter_start', 'consumer_id', 'model'], USAGE_SUMS),
  }),
  part({
    name: 'consumer_billing',
    columns: CONSUMER_BILLING_COLUMNS,
    rows: ({ changes }) => byKey(changes.consumerBilling),
    sql: upsertSums(
      'consumer_billing',
      CONSUMER_BILLING_COLUMNS,
      ['consumer_id'],
      ['granted_nanos', 'charged_nanos', 'requests'],
      ', last_request_at = coalesce(excluded.last_request_at, consumer_billing.last_request_at)',
    ),
  }),
  part({
    name: 'journal',
    columns: JOURNAL_COLUMNS,
    rows: ({ changes }) => changes.journal,
    sql: insert('journal', JOURNAL_COLUMNS),
  }),
  part({
    name: 'trial_balance',
    columns: TRIAL_BALANCE_COLUMNS,
    rows: ({ changes }) => byKey(changes.trialBalance),
    sql: upsertSums('trial_balance', TRIAL_BALANCE_COLUMNS, ['unit', 'environment', 'ledger_account'], ['balance_nanos', 'postings']),
  }),
  part({
    name: 'payments',
    columns: PAYMENT_COLUMNS,
    rows: ({ changes }) => byKey(changes.payments),
    sql: (schema, source) => {
      const [, ...columns] = PAYMENT_COLUMNS.map(({ name }) => name);
      return `insert into ${schema}.payments (${namesOf(PAYMENT_COLUMNS)}) select ${namesOf(PAYMENT_COLUMNS)} from ${source}
        on conflict (payment_id) do update set ${columns.map((name) => `${name} = excluded.${name}`).join(', ')}
        where payments.revision < excluded.revision`;
    },
  }),
];

/** Never moves back: a page that is delivered again, or by a slower projector, counts its events and leaves the position. */
const CHECKPOINT_SQL = (schema: ReadModelSchema) =>
  `insert into ${schema}.checkpoints (projection, position, events, updated_at) values ('${READ_MODEL_PROJECTION}', $1, $2, now())
   on conflict (projection) do update set position = greatest(checkpoints.position, excluded.position),
     events = checkpoints.events + excluded.events, updated_at = now()`;

/** Moves the checkpoint without rows. */
export async function writeCheckpoint(client: ClientBase, schema: ReadModelSchema, position: string, events: number): Promise<void> {
  await client.query({ name: `${schema}-checkpoint`, text: CHECKPOINT_SQL(schema), values: [position, events] });
}

/** Statements by the parts they consist of; pages of one kind of traffic need a handful, and there are 512 at most. */
const statements = new Map<string, string>();

function statementOf(schema: ReadModelSchema, parts: readonly Part[]): { readonly name: string; readonly text: string } {
  const name = `${schema}-write-${PARTS.map((one) => (parts.includes(one) ? '1' : '0')).join('')}`;
  let text = statements.get(name);
  if (text === undefined) {
    text = composeStatement(schema, parts);
    statements.set(name, text);
  }
  return { name, text };
}

function composeStatement(schema: ReadModelSchema, parts: readonly Part[]): string {
  let parameter = 2;
  const expressions = parts.map((one) => {
    const arrays = one.columnTypes.map((type) => {
      parameter += 1;
      return `$${parameter}::${type}[]`;
    });
    const source = `unnest(${arrays.join(', ')}) as change (${one.columnNames.join(', ')})`;
    return `${one.name} as (${one.sql(schema, source)}${one.mustFindAll ? ' returning 1' : ''})`;
  });
  const found = parts.filter((one) => one.mustFindAll).map((one) => `(select count(*)::integer from ${one.name}) as ${one.name}`);
  return `with checkpoint as (${CHECKPOINT_SQL(schema)}), ${expressions.join(', ')} select ${found.join(', ') || '1'}`;
}

/** Writes the page's rows and moves the checkpoint, within the caller's transaction. Throws `BrokenBooksError` when a row to change is not there. */
export async function writePage(client: ClientBase, schema: ReadModelSchema, page: Page): Promise<void> {
  const parts: Part[] = [];
  const values: unknown[] = [page.position, page.changes.events];
  const expected = new Map<string, number>();
  for (const one of PARTS) {
    const filled = one.arraysOf(page);
    if (filled === null) continue;
    parts.push(one);
    values.push(...filled.arrays);
    if (one.mustFindAll) expected.set(one.name, filled.rows);
  }
  if (parts.length === 0) {
    await writeCheckpoint(client, schema, page.position, page.changes.events);
    return;
  }
  const { rows } = await client.query<Record<string, number>>({ ...statementOf(schema, parts), values });
  for (const [name, count] of expected) {
    const found = rows[0]?.[name] ?? 0;
    if (found !== count) throw new BrokenBooksError(`${name}: ${count} rows of ${schema} should change and ${found} do`);
  }
}
