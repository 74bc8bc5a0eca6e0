/** Puts rows into the read models as the projector would, for tests of what reads them. */
import { randomUUID } from 'node:crypto';
import type { Pool } from 'pg';
import { type CancelPolicy, type PriceTerms, termsToWire, type UsageSource } from '../../../events/contract/index.js';

export type SeededRequest = {
  readonly runId: string;
  readonly accountId: string;
  readonly projectId: string;
  readonly consumerId?: string;
  readonly status: 'reserved' | 'completed' | 'cancelled' | 'failed' | 'expired';
  readonly terms: PriceTerms;
  readonly usage?: readonly [promptTokens: number, cachedTokens: number, completionTokens: number];
  readonly heldNanos: bigint;
  readonly chargedNanos?: bigint;
  readonly promptTokensMax?: number;
  readonly outputTokensBudget?: number;
  readonly cancelPolicy?: CancelPolicy;
  readonly usageSource?: UsageSource;
  readonly errorCode?: string;
  readonly unit?: string;
};

export async function seedRequest(pool: Pool, request: SeededRequest): Promise<void> {
  const isSettled = request.status !== 'reserved';
  const chargedNanos = request.chargedNanos ?? 0n;
  const [promptTokens, cachedTokens, completionTokens] = request.usage ?? [0, 0, 0];
  const whenSettled = <Value>(value: Value): Value | null => (isSettled ? value : null);
  await pool.query(
    `insert into read_model.requests
       (run_id, account_id, project_id, consumer_id, key_id, model, unit, status, finish_reason, error_code, attempt, prompt_tokens, cached_tokens,
        completion_tokens, held_nanos, charged_nanos, refunded_nanos, price_version, terms, prompt_tokens_max, output_tokens_budget, cancel_policy, usage_source,
        reserved_at, deadline_at, settled_at, reserved_event_id, usage_event_id, refund_event_id, settled_event_id)
     values ($1, $2, $3, $4, 'key_x', 'model-x', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 'prices-1', $16, $17, $18, $19, $20,
        '2026-04-27T15:30:00Z', '2026-04-27T15:35:00Z', $21, $22, $23, $24, $25)`,
    [
      request.runId,
      request.accountId,
      request.projectId,
      request.consumerId ?? null,
      request.unit ?? 'USD',
      request.status,
      request.status === 'completed' ? 'stop' : null,
      request.errorCode ?? null,
      whenSettled(1),
      whenSettled(promptTokens),
      whenSettled(cachedTokens),
      whenSettled(completionTokens),
      request.heldNanos.toString(),
      whenSettled(chargedNanos.toString()),
      whenSettled((request.heldNanos - chargedNanos).toString()),
      JSON.stringify(termsToWire(request.terms)),
      request.promptTokensMax ?? 100,
      request.outputTokensBudget ?? 100,
      request.cancelPolicy ?? 'charge_generated',
      request.usageSource ?? null,
      whenSettled('2026-04-27T15:30:02Z'),
      randomUUID(),
      whenSettled(randomUUID()),
      whenSettled(randomUUID()),
      whenSettled(randomUUID()),
    ],
  );
}

export type SeededQuarter = {
  readonly projectId: string;
  /** ISO instant on a quarter of an hour. */
  readonly start: string;
  readonly consumerId?: string;
  readonly model?: string;
  readonly unit?: string;
  readonly completed?: number;
  readonly failed?: number;
  readonly tokens?: readonly [promptTokens: number, cachedTokens: number, completionTokens: number];
  readonly chargedNanos?: bigint;
};

export async function seedQuarter(pool: Pool, quarter: SeededQuarter): Promise<void> {
  const completed = quarter.completed ?? 1;
  const failed = quarter.failed ?? 0;
  const [promptTokens, cachedTokens, completionTokens] = quarter.tokens ?? [10, 0, 5];
  await pool.query(
    `insert into read_model.usage_quarters (project_id, quarter_start, consumer_id, model, unit, requests, completed, cancelled, failed, expired,
        prompt_tokens, cached_tokens, completion_tokens, charged_nanos)
     values ($1, $2, $3, $4, $5, $6, $7, 0, $8, 0, $9, $10, $11, $12)`,
    [
      quarter.projectId,
      quarter.start,
      quarter.consumerId ?? '',
      quarter.model ?? 'model-x',
      quarter.unit ?? 'USD',
      completed + failed,
      completed,
      failed,
      promptTokens,
      cachedTokens,
      completionTokens,
      (quarter.chargedNanos ?? 1_000n).toString(),
    ],
  );
}

export type SeededAccount = {
  readonly accountId: string;
  readonly projectId: string;
  readonly consumerId?: string;
  readonly unit?: string;
  readonly availableNanos: bigint;
  readonly heldNanos?: bigint;
  readonly revision?: number;
};

/** Writes or moves on the balance row of an account. */
export async function seedAccount(pool: Pool, account: SeededAccount): Promise<void> {
  await pool.query(
    `insert into read_model.account_balances (account_id, holder_kind, project_id, consumer_id, unit, environment, available_nanos, held_nanos,
        charged_nanos, granted_nanos, revision, updated_at)
     values ($1, $2, $3, $4, $5, 'live', $6, $7, 0, 0, $8, now())
     on conflict (account_id) do update set available_nanos = excluded.available_nanos, held_nanos = excluded.held_nanos,
        revision = excluded.revision`,
    [
      account.accountId,
      account.consumerId === undefined ? 'project' : 'consumer',
      account.projectId,
      account.consumerId ?? null,
      account.unit ?? 'USD',
      account.availableNanos.toString(),
      (account.heldNanos ?? 0n).toString(),
      account.revision ?? 0,
    ],
  );
}
