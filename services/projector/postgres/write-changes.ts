/** Writes folded changes to the views, one statement per table, all in the caller's transaction. */
import type { ClientBase } from 'pg';
import type { AccountBalanceChange } from '../domain/account-balances.js';
import type { ConsumerBillingChange } from '../domain/consumer-billing.js';
import type { JournalRow } from '../domain/journal.js';
import { consumerIdOf, projectIdOf } from '../domain/projected-event.js';
import type { ReadModelChanges } from '../domain/read-model-changes.js';
import type { RequestChange } from '../domain/requests.js';
import type { TrialBalanceChange } from '../domain/trial-balance.js';
import type { UsageQuarterChange } from '../domain/usage-quarters.js';

/** Where views are built: the one that is read, or the one that a rebuild will put in its place. */
export const READ_MODEL_SCHEMAS = ['read_model', 'read_model_rebuild'] as const;
export type ReadModelSchema = (typeof READ_MODEL_SCHEMAS)[number];

/** A column of an `unnest` insert: its SQL type and how a row fills it. */
type Column<Row> = readonly [name: string, type: string, value: (row: Row) => unknown];

const time = (ms: number | null) => (ms === null ? null : new Date(ms));

/** Runs `text` with one array parameter per column. Nothing is sent for no rows. */
async function unnest<Row>(
  client: ClientBase,
  name: string,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  text: (source: string) => string,
) {
  if (rows.length === 0) return;
  const names = columns.map(([column]) => column).join(', ');
  const arrays = columns.map(([, type], index) => `$${index + 1}::${type}[]`).join(', ');
  const values = columns.map(([, , value]) => rows.map(value));
  await client.query({ name, text: text(`unnest(${arrays}) as change (${names})`), values });
}

const select = (columns: readonly Column<never>[]) => columns.map(([column]) => `change.${column}`).join(', ');
const names = (columns: readonly Column<never>[]) => columns.map(([column]) => column).join(', ');
const added = (table: string, columns: readonly string[]) =>
  columns.map((column) => `${column} = ${table}.${column} + excluded.${column}`).join(', ');

export async function writeChanges(client: ClientBase, schema: ReadModelSchema, changes: ReadModelChanges): Promise<void> {
  await writeAccountBalances(client, schema, [...changes.accountBalances.values()]);
  await writeRequests(client, schema, [...changes.requests.values()]);
  await writeUsageQuarters(client, schema, [...changes.usageQuarters.values()]);
  await writeConsumerBilling(client, schema, [...changes.consumerBilling.values()]);
  await writeJournal(client, schema, changes.journal);
  await writeTrialBalance(client, schema, [...changes.trialBalance.values()]);
}

export const ACCOUNT_BALANCE_COLUMNS: readonly Column<AccountBalanceChange>[] = [
  ['account_id', 'text', (row) => row.account.accountId],
  ['holder_kind', 'text', (row) => row.account.holder.kind],
  ['project_id', 'text', (row) => projectIdOf(row.account)],
  ['consumer_id', 'text', (row) => consumerIdOf(row.account)],
  ['unit', 'text', (row) => row.account.unit],
  ['environment', 'text', (row) => row.account.environment],
  ['available_nanos', 'bigint', (row) => row.availableNanos],
  ['held_nanos', 'bigint', (row) => row.heldNanos],
  ['charged_nanos', 'bigint', (row) => row.chargedNanos],
  ['granted_nanos', 'bigint', (row) => row.grantedNanos],
  ['revision', 'bigint', (row) => row.account.revision],
  ['updated_at', 'timestamptz', (row) => time(row.updatedAtMs)],
];

function writeAccountBalances(client: ClientBase, schema: ReadModelSchema, rows: readonly AccountBalanceChange[]) {
  const sums = added('account_balances', ['available_nanos', 'held_nanos', 'charged_nanos', 'granted_nanos']);
  return unnest(
    client,
    `${schema}-account-balances`,
    ACCOUNT_BALANCE_COLUMNS,
    rows,
    (source) => `insert into ${schema}.account_balances (${names(ACCOUNT_BALANCE_COLUMNS)})
      select ${select(ACCOUNT_BALANCE_COLUMNS)} from ${source}
      on conflict (account_id) do update set ${sums}, revision = excluded.revision, updated_at = excluded.updated_at`,
  );
}

/** What only the reservation knows, then what its end adds. */
const RESERVED_COLUMNS: readonly Column<RequestChange>[] = [
  ['run_id', 'text', (row) => row.runId],
  ['account_id', 'text', (row) => row.reserved?.accountId],
  ['project_id', 'text', (row) => row.reserved?.projectId],
  ['consumer_id', 'text', (row) => row.reserved?.consumerId ?? null],
  ['key_id', 'text', (row) => row.reserved?.keyId],
  ['model', 'text', (row) => row.reserved?.model],
  ['unit', 'text', (row) => row.reserved?.unit],
  ['held_nanos', 'bigint', (row) => row.reserved?.heldNanos],
  ['price_version', 'text', (row) => row.reserved?.priceVersion],
  ['terms', 'text', (row) => row.reserved?.terms],
  ['prompt_tokens_max', 'integer', (row) => row.reserved?.promptTokensMax],
  ['output_tokens_budget', 'integer', (row) => row.reserved?.outputTokensBudget],
  ['reserved_at', 'timestamptz', (row) => time(row.reserved?.reservedAtMs ?? null)],
  ['deadline_at', 'timestamptz', (row) => time(row.reserved?.deadlineMs ?? null)],
  ['reserved_event_id', 'uuid', (row) => row.reserved?.eventId],
];

const ENDING_COLUMNS: readonly Column<RequestChange>[] = [
  ['status', 'text', (row) => row.settled?.outcome ?? null],
  ['finish_reason', 'text', (row) => row.settled?.finishReason ?? null],
  ['error_code', 'text', (row) => row.settled?.errorCode ?? null],
  ['attempt', 'integer', (row) => row.settled?.attempt ?? null],
  ['settled_at', 'timestamptz', (row) => time(row.settled?.settledAtMs ?? null)],
  ['settled_event_id', 'uuid', (row) => row.settled?.eventId ?? null],
  ['prompt_tokens', 'integer', (row) => row.usage?.usage.promptTokens ?? null],
  ['cached_tokens', 'integer', (row) => row.usage?.usage.cachedTokens ?? null],
  ['completion_tokens', 'integer', (row) => row.usage?.usage.completionTokens ?? null],
  ['charged_nanos', 'bigint', (row) => row.usage?.chargedNanos ?? null],
  ['usage_event_id', 'uuid', (row) => row.usage?.eventId ?? null],
  ['refunded_nanos', 'bigint', (row) => row.refund?.refundedNanos ?? null],
  ['refund_event_id', 'uuid', (row) => row.refund?.eventId ?? null],
];

/** Every column of a request's row, for runs whose reservation is at hand. */
export const REQUEST_COLUMNS: readonly Column<RequestChange>[] = [
  ...RESERVED_COLUMNS,
  ...ENDING_COLUMNS.map(
    ([name, type, value]): Column<RequestChange> =>
      name === 'status' ? [name, type, (row) => value(row) ?? 'reserved'] : [name, type, value],
  ),
];

async function writeRequests(client: ClientBase, schema: ReadModelSchema, rows: readonly RequestChange[]) {
  const begun = rows.filter((row) => row.reserved !== null);
  await unnest(
    client,
    `${schema}-requests-begun`,
    REQUEST_COLUMNS,
    begun,
    (source) => `insert into ${schema}.requests (${names(REQUEST_COLUMNS)}) select ${select(REQUEST_COLUMNS)} from ${source}`,
  );
  const ended = rows.filter((row) => row.reserved === null);
  const columns = [RESERVED_COLUMNS[0] as Column<RequestChange>, ...ENDING_COLUMNS];
  const sets = ENDING_COLUMNS.map(([column]) => `${column} = coalesce(change.${column}, requests.${column})`).join(', ');
  await unnest(
    client,
    `${schema}-requests-ended`,
    columns,
    ended,
    (source) => `update ${schema}.requests set ${sets} from ${source} where requests.run_id = change.run_id`,
  );
}

export const USAGE_QUARTER_COLUMNS: readonly Column<UsageQuarterChange>[] = [
  ['project_id', 'text', (row) => row.projectId],
  ['quarter_start', 'timestamptz', (row) => time(row.quarterStartMs)],
  ['consumer_id', 'text', (row) => row.consumerId],
  ['model', 'text', (row) => row.model],
  ['unit', 'text', (row) => row.unit],
  ['requests', 'bigint', (row) => row.requests],
  ['completed', 'bigint', (row) => row.completed],
  ['cancelled', 'bigint', (row) => row.cancelled],
  ['failed', 'bigint', (row) => row.failed],
  ['expired', 'bigint', (row) => row.expired],
  ['prompt_tokens', 'bigint', (row) => row.promptTokens],
  ['cached_tokens', 'bigint', (row) => row.cachedTokens],
  ['completion_tokens', 'bigint', (row) => row.completionTokens],
  ['charged_nanos', 'bigint', (row) => row.chargedNanos],
];

function writeUsageQuarters(client: ClientBase, schema: ReadModelSchema, rows: readonly UsageQuarterChange[]) {
  const sums = added('usage_quarters', names(USAGE_QUARTER_COLUMNS.slice(5)).split(', '));
  return unnest(
    client,
    `${schema}-usage-quarters`,
    USAGE_QUARTER_COLUMNS,
    rows,
    (source) => `insert into ${schema}.usage_quarters (${names(USAGE_QUARTER_COLUMNS)})
      select ${select(USAGE_QUARTER_COLUMNS)} from ${source}
      on conflict (project_id, quarter_start, consumer_id, model) do update set ${sums}`,
  );
}

export const CONSUMER_BILLING_COLUMNS: readonly Column<ConsumerBillingChange>[] = [
  ['consumer_id', 'text', (row) => row.consumerId],
  ['project_id', 'text', (row) => row.projectId],
  ['unit', 'text', (row) => row.unit],
  ['granted_nanos', 'bigint', (row) => row.grantedNanos],
  ['charged_nanos', 'bigint', (row) => row.chargedNanos],
  ['requests', 'bigint', (row) => row.requests],
  ['last_request_at', 'timestamptz', (row) => time(row.lastRequestAtMs)],
];

function writeConsumerBilling(client: ClientBase, schema: ReadModelSchema, rows: readonly ConsumerBillingChange[]) {
  const sums = added('consumer_billing', ['granted_nanos', 'charged_nanos', 'requests']);
  return unnest(
    client,
    `${schema}-consumer-billing`,
    CONSUMER_BILLING_COLUMNS,
    rows,
    (source) => `insert into ${schema}.consumer_billing (${names(CONSUMER_BILLING_COLUMNS)})
      select ${select(CONSUMER_BILLING_COLUMNS)} from ${source}
      on conflict (consumer_id) do update set ${sums},
        last_request_at = coalesce(excluded.last_request_at, consumer_billing.last_request_at)`,
  );
}

export const JOURNAL_COLUMNS: readonly Column<JournalRow>[] = [
  ['account_id', 'text', (row) => row.accountId],
  ['revision', 'bigint', (row) => row.revision],
  ['line', 'smallint', (row) => row.line],
  ['event_id', 'uuid', (row) => row.eventId],
  ['event_type', 'text', (row) => row.eventType],
  ['run_id', 'text', (row) => row.runId],
  ['unit', 'text', (row) => row.unit],
  ['debit_account', 'text', (row) => row.debitAccount],
  ['credit_account', 'text', (row) => row.creditAccount],
  ['amount_nanos', 'bigint', (row) => row.amountNanos],
  ['occurred_at', 'timestamptz', (row) => time(row.occurredAtMs)],
];

function writeJournal(client: ClientBase, schema: ReadModelSchema, rows: readonly JournalRow[]) {
  return unnest(
    client,
    `${schema}-journal`,
    JOURNAL_COLUMNS,
    rows,
    (source) => `insert into ${schema}.journal (${names(JOURNAL_COLUMNS)}) select ${select(JOURNAL_COLUMNS)} from ${source}`,
  );
}

export const TRIAL_BALANCE_COLUMNS: readonly Column<TrialBalanceChange>[] = [
  ['unit', 'text', (row) => row.unit],
  ['environment', 'text', (row) => row.environment],
  ['ledger_account', 'text', (row) => row.ledgerAccount],
  ['balance_nanos', 'numeric', (row) => row.balanceNanos],
  ['postings', 'bigint', (row) => row.postings],
];

function writeTrialBalance(client: ClientBase, schema: ReadModelSchema, rows: readonly TrialBalanceChange[]) {
  return unnest(
    client,
    `${schema}-trial-balance`,
    TRIAL_BALANCE_COLUMNS,
    rows,
    (source) => `insert into ${schema}.trial_balance (${names(TRIAL_BALANCE_COLUMNS)})
      select ${select(TRIAL_BALANCE_COLUMNS)} from ${source}
      on conflict (unit, environment, ledger_account) do update set ${added('trial_balance', ['balance_nanos', 'postings'])}`,
  );
}

/** Moves the checkpoint, in the same transaction as the rows it speaks of. */
export async function writeCheckpoint(client: ClientBase, schema: ReadModelSchema, position: string, events: number): Promise<void> {
  await client.query({
    name: `${schema}-checkpoint`,
    text: `insert into ${schema}.checkpoints (projection, position, events, updated_at) values ($1, $2, $3, now())
           on conflict (projection) do update
           set position = excluded.position, events = checkpoints.events + excluded.events, updated_at = now()
           where checkpoints.position <= excluded.position`,
    values: [READ_MODEL_PROJECTION, position, events],
  });
}

/** Name of the one projection that writes all views together. */
export const READ_MODEL_PROJECTION = 'read_model';
