/** The columns of each view and how a change fills them; live upserts and a rebuild's COPY write the same text. */
import type { AccountBalanceChange } from '../domain/account-balances.js';
import type { ConsumerBillingChange } from '../domain/consumer-billing.js';
import type { JournalRow } from '../domain/journal.js';
import type { PaymentRow } from '../domain/payments.js';
import { consumerIdOf, projectIdOf } from '../domain/projected-event.js';
import type { RequestChange, ReservedPart } from '../domain/requests.js';
import type { TrialBalanceChange } from '../domain/trial-balance.js';
import type { UsageQuarterChange } from '../domain/usage-quarters.js';
import { type PostgresText, timeText } from './postgres-text.js';

/** A column, its SQL type, and the text of what a row holds in it. */
export type Column<Row> = { readonly name: string; readonly type: string; readonly text: (row: Row) => PostgresText };

function column<Row>(name: string, type: string, text: (row: Row) => PostgresText): Column<Row> {
  return { name, type, text };
}

const optionalTimeText = (ms: number | null | undefined): PostgresText => (ms === null || ms === undefined ? null : timeText(ms));

export const ACCOUNT_BALANCE_COLUMNS: readonly Column<AccountBalanceChange>[] = [
  column('account_id', 'text', (row) => row.account.accountId),
  column('holder_kind', 'text', (row) => row.account.holder.kind),
  column('project_id', 'text', (row) => projectIdOf(row.account)),
  column('consumer_id', 'text', (row) => consumerIdOf(row.account)),
  column('unit', 'text', (row) => row.account.unit),
  column('environment', 'text', (row) => row.account.environment),
  column('available_nanos', 'numeric', (row) => row.availableNanos),
  column('held_nanos', 'numeric', (row) => row.heldNanos),
  column('charged_nanos', 'numeric', (row) => row.chargedNanos),
  column('granted_nanos', 'numeric', (row) => row.grantedNanos),
  column('revision', 'bigint', (row) => row.account.revision),
  column('updated_at', 'timestamptz', (row) => timeText(row.updatedAtMs)),
];

/** What an event after the first changes of an account's row. */
export const ACCOUNT_MOVEMENT_COLUMNS: readonly Column<AccountBalanceChange>[] = ACCOUNT_BALANCE_COLUMNS.filter(
  ({ name }) => name === 'account_id' || name === 'revision' || name === 'updated_at' || name.endsWith('_nanos'),
);

function reserved(row: RequestChange): ReservedPart {
  if (row.reserved === null) throw new Error(`run ${row.runId} has no reservation to write`);
  return row.reserved;
}

const RUN_ID = column<RequestChange>('run_id', 'text', (row) => row.runId);

/** What only the reservation knows. */
const RESERVATION_COLUMNS: readonly Column<RequestChange>[] = [
  RUN_ID,
  column('account_id', 'text', (row) => reserved(row).accountId),
  column('project_id', 'text', (row) => reserved(row).projectId),
  column('consumer_id', 'text', (row) => reserved(row).consumerId),
  column('key_id', 'text', (row) => reserved(row).keyId),
  column('model', 'text', (row) => reserved(row).model),
  column('unit', 'text', (row) => reserved(row).unit),
  column('held_nanos', 'bigint', (row) => reserved(row).heldNanos),
  column('price_version', 'text', (row) => reserved(row).priceVersion),
  column('terms', 'text', (row) => reserved(row).terms),
  column('prompt_tokens_max', 'integer', (row) => reserved(row).promptTokensMax),
  column('output_tokens_budget', 'integer', (row) => reserved(row).outputTokensBudget),
  column('cancel_policy', 'text', (row) => reserved(row).cancelPolicy),
  column('reserved_at', 'timestamptz', (row) => timeText(reserved(row).reservedAtMs)),
  column('deadline_at', 'timestamptz', (row) => timeText(reserved(row).deadlineMs)),
  column('audio_bytes_held', 'bigint', (row) => reserved(row).audio?.bytes ?? null),
  column('audio_ms_held', 'bigint', (row) => reserved(row).audio?.milliseconds ?? null),
  column('request_hash', 'text', (row) => reserved(row).requestHash),
  column('reserved_revision', 'bigint', (row) => reserved(row).revision),
  column('reserved_event_id', 'uuid', (row) => reserved(row).eventId),
];

/** What the end of a run adds; null where its event has not come yet. */
const ENDING_COLUMNS: readonly Column<RequestChange>[] = [
  column('finish_reason', 'text', (row) => row.settled?.finishReason ?? null),
  column('error_code', 'text', (row) => row.settled?.errorCode ?? null),
  column('attempt', 'integer', (row) => row.settled?.attempt ?? null),
  column('settled_at', 'timestamptz', (row) => optionalTimeText(row.settled?.settledAtMs)),
  column('response_hash', 'text', (row) => row.settled?.responseHash ?? null),
  column('system_fingerprint', 'text', (row) => row.settled?.systemFingerprint ?? null),
  column('settled_revision', 'bigint', (row) => row.settled?.revision ?? null),
  column('settled_event_id', 'uuid', (row) => row.settled?.eventId ?? null),
  column('prompt_tokens', 'integer', (row) => row.usage?.usage.promptTokens ?? null),
  column('cached_tokens', 'integer', (row) => row.usage?.usage.cachedTokens ?? null),
  column('completion_tokens', 'integer', (row) => row.usage?.usage.completionTokens ?? null),
  column('audio_bytes', 'bigint', (row) => row.usage?.usage.audio?.bytes ?? null),
  column('audio_ms', 'bigint', (row) => row.usage?.usage.audio?.milliseconds ?? null),
  column('usage_source', 'text', (row) => row.usage?.usageSource ?? null),
  column('charged_nanos', 'bigint', (row) => row.usage?.chargedNanos ?? null),
  column('usage_event_id', 'uuid', (row) => row.usage?.eventId ?? null),
  column('refunded_nanos', 'bigint', (row) => row.refund?.refundedNanos ?? null),
  column('refund_event_id', 'uuid', (row) => row.refund?.eventId ?? null),
];

/** A whole row, for runs whose reservation is at hand. */
export const REQUEST_COLUMNS: readonly Column<RequestChange>[] = [
  ...RESERVATION_COLUMNS,
  column('status', 'text', (row) => row.settled?.outcome ?? 'reserved'),
  ...ENDING_COLUMNS,
];

/** For runs whose row has been there since an earlier page. */
export const REQUEST_ENDING_COLUMNS: readonly Column<RequestChange>[] = [
  RUN_ID,
  column('status', 'text', (row) => row.settled?.outcome ?? null),
  ...ENDING_COLUMNS,
];

export const USAGE_QUARTER_COLUMNS: readonly Column<UsageQuarterChange>[] = [
  column('project_id', 'text', (row) => row.projectId),
  column('quarter_start', 'timestamptz', (row) => timeText(row.quarterStartMs)),
  column('consumer_id', 'text', (row) => row.consumerId),
  column('model', 'text', (row) => row.model),
  column('unit', 'text', (row) => row.unit),
  column('requests', 'bigint', (row) => row.requests),
  column('completed', 'bigint', (row) => row.completed),
  column('cancelled', 'bigint', (row) => row.cancelled),
  column('failed', 'bigint', (row) => row.failed),
  column('expired', 'bigint', (row) => row.expired),
  column('prompt_tokens', 'bigint', (row) => row.promptTokens),
  column('cached_tokens', 'bigint', (row) => row.cachedTokens),
  column('completion_tokens', 'bigint', (row) => row.completionTokens),
  column('charged_nanos', 'numeric', (row) => row.chargedNanos),
];

export const CONSUMER_BILLING_COLUMNS: readonly Column<ConsumerBillingChange>[] = [
  column('consumer_id', 'text', (row) => row.consumerId),
  column('project_id', 'text', (row) => row.projectId),
  column('unit', 'text', (row) => row.unit),
  column('granted_nanos', 'numeric', (row) => row.grantedNanos),
  column('charged_nanos', 'numeric', (row) => row.chargedNanos),
  column('requests', 'bigint', (row) => row.requests),
  column('last_request_at', 'timestamptz', (row) => optionalTimeText(row.lastRequestAtMs)),
];

export const JOURNAL_COLUMNS: readonly Column<JournalRow>[] = [
  column('account_id', 'text', (row) => row.accountId),
  column('revision', 'bigint', (row) => row.revision),
  column('line', 'smallint', (row) => row.line),
  column('event_id', 'uuid', (row) => row.eventId),
  column('event_type', 'text', (row) => row.eventType),
  column('run_id', 'text', (row) => row.runId),
  column('unit', 'text', (row) => row.unit),
  column('debit_account', 'text', (row) => row.debitAccount),
  column('credit_account', 'text', (row) => row.creditAccount),
  column('amount_nanos', 'bigint', (row) => row.amountNanos),
  column('occurred_at', 'timestamptz', (row) => timeText(row.occurredAtMs)),
];

export const TRIAL_BALANCE_COLUMNS: readonly Column<TrialBalanceChange>[] = [
  column('unit', 'text', (row) => row.unit),
  column('environment', 'text', (row) => row.environment),
  column('ledger_account', 'text', (row) => row.ledgerAccount),
  column('balance_nanos', 'numeric', (row) => row.balanceNanos),
  column('postings', 'bigint', (row) => row.postings),
];

export const PAYMENT_COLUMNS: readonly Column<PaymentRow>[] = [
  column('payment_id', 'text', (row) => row.paymentId),
  column('reference', 'text', (row) => row.reference),
  column('provider', 'text', (row) => row.provider),
  column('mode', 'text', (row) => row.mode),
  column('environment', 'text', (row) => row.environment),
  column('account_id', 'text', (row) => row.accountId),
  column('project_id', 'text', (row) => row.projectId),
  column('consumer_id', 'text', (row) => row.consumerId),
  column('unit', 'text', (row) => row.unit),
  column('pack_id', 'text', (row) => row.packId),
  column('amount_minor', 'numeric', (row) => row.amountMinor),
  column('currency', 'text', (row) => row.currency),
  column('credit_nanos', 'numeric', (row) => row.creditNanos),
  column('status', 'text', (row) => row.status),
  column('provider_reference', 'text', (row) => row.providerReference),
  column('provider_payment_id', 'text', (row) => row.providerPaymentId),
  column('mismatch', 'text', (row) => row.mismatch),
  column('verified_nanos', 'numeric', (row) => row.verifiedNanos),
  column('credited_nanos', 'numeric', (row) => row.creditedNanos),
  column('clawed_back_nanos', 'numeric', (row) => row.clawedBackNanos),
  column('reversals', 'text', (row) => JSON.stringify(row.reversals)),
  column('reversed_minor', 'numeric', (row) => row.reversedMinor),
  column('unbooked', 'integer', (row) => row.unbooked),
  column('opened_at', 'timestamptz', (row) => timeText(row.openedAtMs)),
  column('expires_at', 'timestamptz', (row) => optionalTimeText(row.expiresAtMs)),
  column('verified_at', 'timestamptz', (row) => optionalTimeText(row.verifiedAtMs)),
  column('credited_at', 'timestamptz', (row) => optionalTimeText(row.creditedAtMs)),
  column('updated_at', 'timestamptz', (row) => timeText(row.updatedAtMs)),
  column('revision', 'bigint', (row) => row.revision),
];
