/**
 * The read models as Postgres holds them. Every report runs in one read-only snapshot with a statement timeout, so its parts agree with each
 * other and a slow one cannot hold a connection for long. Values reach SQL as parameters only.
 */
import type { ClientBase, Pool } from 'pg';
import {
  type AudioUsage,
  type CancelPolicy,
  type PriceTermsWire,
  type TokenUsage,
  termsFromWire,
  type UsageSource,
} from '../../../events/contract/index.js';
import { inTransaction } from '../../../platform/postgres/transactions.js';
import {
  ACCOUNTS_PER_READ_MAX,
  type AccountRevision,
  type AccountView,
  type ConsumerBilling,
  type ReadModel,
  type RequestRecord,
  type TrialBalanceLine,
  type UsageQuery,
  type UsageResult,
} from './read-model.js';
import { type AppliedSignal, RevisionWait } from './revision-wait.js';
import { queryUsage } from './usage-query.js';

/** A report that takes longer is refused rather than left to slow down everybody. */
export const READ_STATEMENT_TIMEOUT_MS = 5_000;

export type PostgresReadModelOptions = {
  readonly pool: Pool;
  /** Given where the projector runs in the same process; otherwise the views are polled. */
  readonly onApplied?: AppliedSignal;
  readonly monotonicNowMs?: () => number;
};

const epochMs = (column: string, alias: string): string => `(extract(epoch from ${column}) * 1000)::float8 as ${alias}`;

export class PostgresReadModel implements ReadModel {
  readonly #pool: Pool;
  readonly #revisionWait: RevisionWait;

  constructor(options: PostgresReadModelOptions) {
    this.#pool = options.pool;
    this.#revisionWait = new RevisionWait({
      haveReached: (revisions) => this.#haveReached(revisions),
      monotonicNowMs: options.monotonicNowMs ?? (() => performance.now()),
      ...(options.onApplied === undefined ? {} : { onApplied: options.onApplied }),
    });
  }

  request(projectId: string, runId: string): Promise<RequestRecord | null> {
    return this.#read(async (client) => {
      const { rows } = await client.query<RequestRow>(
        `select r.run_id, r.account_id, r.project_id, r.consumer_id, r.key_id, r.model, r.unit, r.status, r.finish_reason, r.error_code,
                r.attempt, r.prompt_tokens, r.cached_tokens, r.completion_tokens, r.audio_bytes::text, r.audio_ms::text,
                r.audio_bytes_held::text, r.audio_ms_held::text, r.usage_source, r.held_nanos::text, r.charged_nanos::text,
                r.refunded_nanos::text, r.price_version, r.terms::text, r.prompt_tokens_max, r.output_tokens_budget, r.cancel_policy,
                ${epochMs('r.reserved_at', 'reserved_ms')}, ${epochMs('r.deadline_at', 'deadline_ms')}, ${epochMs('r.settled_at', 'settled_ms')},
                r.reserved_event_id, r.usage_event_id, r.refund_event_id, r.settled_event_id,
                r.reserved_revision::text, r.settled_revision::text
         from read_model.requests r where r.run_id = $1 and r.project_id = $2`,
        [runId, projectId],
      );
      return rows[0] === undefined ? null : requestFromRow(rows[0]);
    });
  }

  usage(query: UsageQuery): Promise<UsageResult> {
    return this.#read((client) => queryUsage(client, query));
  }

  async accounts(accountIds: readonly string[]): Promise<ReadonlyMap<string, AccountView>> {
    if (accountIds.length > ACCOUNTS_PER_READ_MAX) throw new RangeError(`at most ${ACCOUNTS_PER_READ_MAX} accounts at once`);
    if (accountIds.length === 0) return new Map();
    return this.#read(async (client) => {
      const { rows } = await client.query<{ account_id: string; available_nanos: string; held_nanos: string; revision: string }>(
        `select b.account_id, b.available_nanos::text, b.held_nanos::text, b.revision::text
         from read_model.account_balances b where b.account_id = any($1::text[])`,
        [accountIds],
      );
      return new Map(rows.map((row) => [row.account_id, accountFromRow(row)]));
    });
  }

  consumerBilling(projectId: string, consumerId: string): Promise<ConsumerBilling | null> {
    return this.#read(async (client) => {
      const { rows } = await client.query<{ granted_nanos: string; charged_nanos: string; requests: string; last_ms: number | null }>(
        `select c.granted_nanos::text, c.charged_nanos::text, c.requests::text, ${epochMs('c.last_request_at', 'last_ms')}
         from read_model.consumer_billing c where c.consumer_id = $1 and c.project_id = $2`,
        [consumerId, projectId],
      );
      const row = rows[0];
      if (row === undefined) return null;
      return {
        consumerId,
        grantedNanos: BigInt(row.granted_nanos),
        chargedNanos: BigInt(row.charged_nanos),
        requests: Number(row.requests),
        lastRequestAtMs: row.last_ms === null ? null : Math.round(row.last_ms),
      };
    });
  }

  trialBalance(): Promise<TrialBalanceLine[]> {
    return this.#read(async (client) => {
      const { rows } = await client.query<{
        unit: string;
        environment: TrialBalanceLine['environment'];
        ledger_account: string;
        balance_nanos: string;
        postings: string;
      }>(
        `select t.unit, t.environment, t.ledger_account, t.balance_nanos::text, t.postings::text
         from read_model.trial_balance t order by t.unit, t.environment, t.ledger_account`,
      );
      return rows.map((row) => ({
        unit: row.unit,
        environment: row.environment,
        ledgerAccount: row.ledger_account,
        balanceNanos: BigInt(row.balance_nanos),
        postings: Number(row.postings),
      }));
    });
  }

  waitForRevisions(revisions: readonly AccountRevision[], timeoutMs: number): Promise<'current' | 'stale'> {
    return this.#revisionWait.wait(revisions, timeoutMs);
  }

  async #haveReached(revisions: readonly AccountRevision[]): Promise<boolean> {
    const { rows } = await this.#pool.query<{ missing: string }>(
      `select count(*)::text as missing from unnest($1::text[], $2::bigint[]) as wanted (account_id, revision)
       left join read_model.account_balances b on b.account_id = wanted.account_id
       where b.revision is null or b.revision < wanted.revision`,
      [revisions.map((wanted) => wanted.accountId), revisions.map((wanted) => wanted.revision)],
    );
    return rows[0]?.missing === '0';
  }

  #read<Result>(query: (client: ClientBase) => Promise<Result>): Promise<Result> {
    const begin = `begin isolation level repeatable read read only; set local statement_timeout = ${READ_STATEMENT_TIMEOUT_MS}`;
    return inTransaction(this.#pool, query, begin);
  }
}

type RequestRow = {
  readonly run_id: string;
  readonly account_id: string;
  readonly project_id: string;
  readonly consumer_id: string | null;
  readonly key_id: string;
  readonly model: string;
  readonly unit: string;
  readonly status: RequestRecord['status'];
  readonly finish_reason: string | null;
  readonly error_code: string | null;
  readonly attempt: number | null;
  readonly prompt_tokens: number | null;
  readonly cached_tokens: number | null;
  readonly completion_tokens: number | null;
  readonly audio_bytes: string | null;
  readonly audio_ms: string | null;
  readonly audio_bytes_held: string | null;
  readonly audio_ms_held: string | null;
  readonly held_nanos: string;
  readonly charged_nanos: string | null;
  readonly refunded_nanos: string | null;
  readonly price_version: string;
  readonly terms: string;
  readonly prompt_tokens_max: number;
  readonly output_tokens_budget: number;
  /** `null` in rows from before the column; a rebuild fills them. */
  readonly cancel_policy: CancelPolicy | null;
  readonly usage_source: UsageSource | null;
  readonly reserved_ms: number;
  readonly deadline_ms: number;
  readonly settled_ms: number | null;
  readonly reserved_event_id: string;
  readonly usage_event_id: string | null;
  readonly refund_event_id: string | null;
  readonly settled_event_id: string | null;
  readonly reserved_revision: string | null;
  readonly settled_revision: string | null;
};

function requestFromRow(row: RequestRow): RequestRecord {
  return {
    runId: row.run_id,
    accountId: row.account_id,
    projectId: row.project_id,
    consumerId: row.consumer_id,
    keyId: row.key_id,
    model: row.model,
    unit: row.unit,
    status: row.status,
    finishReason: row.finish_reason,
    errorCode: row.error_code,
    attempt: row.attempt,
    usage: usageFromRow(row),
    usageSource: row.usage_source ?? 'engine',
    heldNanos: BigInt(row.held_nanos),
    chargedNanos: row.charged_nanos === null ? null : BigInt(row.charged_nanos),
    refundedNanos: row.refunded_nanos === null ? null : BigInt(row.refunded_nanos),
    priceVersion: row.price_version,
    terms: termsFromWire(JSON.parse(row.terms) as PriceTermsWire),
    promptTokensMax: row.prompt_tokens_max,
    outputTokensBudget: row.output_tokens_budget,
    audioHeld: audioOf(row.audio_bytes_held, row.audio_ms_held),
    cancelPolicy: row.cancel_policy ?? (row.charged_nanos === '0' ? 'refund_all' : 'charge_generated'),
    reservedAtMs: Math.round(row.reserved_ms),
    deadlineAtMs: Math.round(row.deadline_ms),
    settledAtMs: row.settled_ms === null ? null : Math.round(row.settled_ms),
    eventIds: {
      reserved: row.reserved_event_id,
      usage: row.usage_event_id,
      refund: row.refund_event_id,
      settled: row.settled_event_id,
    },
    revisions: { reserved: numberOrNull(row.reserved_revision), settled: numberOrNull(row.settled_revision) },
  };
}

function usageFromRow(row: RequestRow): TokenUsage | null {
  if (row.prompt_tokens === null) return null;
  const audio = audioOf(row.audio_bytes, row.audio_ms);
  const tokens = { promptTokens: row.prompt_tokens, cachedTokens: row.cached_tokens ?? 0, completionTokens: row.completion_tokens ?? 0 };
  return audio === null ? tokens : { ...tokens, audio };
}

function audioOf(bytes: string | null, ms: string | null): AudioUsage | null {
  return bytes === null || ms === null ? null : { bytes: Number(bytes), milliseconds: Number(ms) };
}

function numberOrNull(text: string | null): number | null {
  return text === null ? null : Number(text);
}

function accountFromRow(row: { account_id: string; available_nanos: string; held_nanos: string; revision: string }): AccountView {
  return {
    accountId: row.account_id,
    availableNanos: BigInt(row.available_nanos),
    heldNanos: BigInt(row.held_nanos),
    revision: Number(row.revision),
  };
}
