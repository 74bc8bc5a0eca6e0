/** Idempotency keys in Postgres. A claim is one statement, so two requests with one key cannot both win; no lock outlives a statement. */
import type { Pool } from 'pg';
import {
  CLAIM_LEASE_MS,
  type ClaimResult,
  type HeldClaim,
  IDEMPOTENCY_RETENTION_MS,
  type IdempotencyClaim,
  type IdempotencyStore,
} from './idempotency-store.js';

/** Rows deleted by one purge statement; keeps its locks short. */
const PURGE_ROWS_MAX = 5_000;
/** A claim that conflicts with a row its snapshot cannot see yet is tried again; each try sees a later state. */
const CLAIM_TRIES_MAX = 5;

/**
 * Inserts, or takes a row that is free (expired, or failed under the same request); otherwise shows the row that is in the way. Neither
 * branch returns a row when that row was committed after this statement's snapshot.
 */
const CLAIM_SQL = `
  with claimed as (
    insert into api.idempotency_keys as held
      (project_id, key, request_sha256, state, run_id, account_id, instance_id, lease_until, expires_at)
    values ($1, $2, $3, 'running', $4, $5, $6, $7, $8)
    on conflict (project_id, key) do update set
      request_sha256 = excluded.request_sha256, state = 'running', run_id = excluded.run_id, account_id = excluded.account_id,
      instance_id = excluded.instance_id, lease_until = excluded.lease_until, expires_at = excluded.expires_at, answer = null,
      charged_run_id = case when held.expires_at <= $9 then null else held.charged_run_id end
    where held.expires_at <= $9 or (held.state = 'failed' and held.request_sha256 = excluded.request_sha256)
    returning held.charged_run_id
  )
  select true as claimed, null as state, null as same_request, null as leased, null as run_id, null as account_id, charged_run_id, null as answer
  from claimed
  union all
  select false, state, request_sha256 = $3, lease_until > $9, run_id, account_id, charged_run_id, answer
  from api.idempotency_keys
  where project_id = $1 and key = $2 and not exists (select from claimed)`;

const TAKE_OVER_SQL = `
  update api.idempotency_keys
  set run_id = $4, account_id = $5, instance_id = $6, lease_until = $7, expires_at = $8, charged_run_id = $11
  where project_id = $1 and key = $2 and request_sha256 = $3 and state = 'running' and run_id = $10 and lease_until <= $9`;

type ClaimRow = {
  readonly claimed: boolean;
  readonly state: 'running' | 'completed' | 'failed' | null;
  readonly same_request: boolean | null;
  readonly leased: boolean | null;
  readonly run_id: string | null;
  readonly account_id: string | null;
  readonly charged_run_id: string | null;
  readonly answer: string | null;
};

export class PostgresIdempotencyStore implements IdempotencyStore {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  async claim(claim: IdempotencyClaim): Promise<ClaimResult> {
    for (let tries = 1; tries <= CLAIM_TRIES_MAX; tries += 1) {
      const { rows } = await this.#pool.query<ClaimRow>({ name: 'claim-idempotency-key', text: CLAIM_SQL, values: claimValues(claim) });
      const row = rows[0];
      if (row !== undefined) return claimResultOf(row);
    }
    return { status: 'running' };
  }

  async takeOver(claim: IdempotencyClaim, previousRunId: string, chargedRunId: string | null): Promise<boolean> {
    const { rowCount } = await this.#pool.query(TAKE_OVER_SQL, [...claimValues(claim), previousRunId, chargedRunId]);
    return rowCount === 1;
  }

  async complete(claim: HeldClaim, answer: string): Promise<void> {
    await this.#pool.query({
      name: 'complete-idempotency-key',
      text: `update api.idempotency_keys set state = 'completed', answer = $4
             where project_id = $1 and key = $2 and run_id = $3 and state = 'running'`,
      values: [claim.projectId, claim.key, claim.runId, answer],
    });
  }

  async release(claim: HeldClaim, chargedRunId: string | null): Promise<void> {
    await this.#pool.query(
      `update api.idempotency_keys set state = 'failed', charged_run_id = coalesce(charged_run_id, $4)
       where project_id = $1 and key = $2 and run_id = $3 and state = 'running'`,
      [claim.projectId, claim.key, claim.runId, chargedRunId],
    );
  }

  async abandon(claim: HeldClaim): Promise<void> {
    await this.#pool.query(
      `update api.idempotency_keys set instance_id = '', lease_until = '-infinity'
       where project_id = $1 and key = $2 and run_id = $3 and state = 'running'`,
      [claim.projectId, claim.key, claim.runId],
    );
  }

  async renew(instanceId: string, nowMs: number): Promise<void> {
    await this.#pool.query(`update api.idempotency_keys set lease_until = $2 where instance_id = $1 and state = 'running'`, [
      instanceId,
      new Date(nowMs + CLAIM_LEASE_MS),
    ]);
  }

  /**
   * Ends every lease; for an instance that knows itself to be the only one, when it starts: whoever held them is gone, and a client that asks
   * again after a crash need not wait for them to run out.
   */
  async endLeases(): Promise<void> {
    await this.#pool.query(`update api.idempotency_keys set lease_until = '-infinity' where state = 'running'`);
  }

  async purge(nowMs: number): Promise<number> {
    const { rowCount } = await this.#pool.query(
      `delete from api.idempotency_keys where (project_id, key) in
         (select project_id, key from api.idempotency_keys where expires_at <= $1 limit ${PURGE_ROWS_MAX} for update skip locked)`,
      [new Date(nowMs)],
    );
    return rowCount ?? 0;
  }
}

function claimValues(claim: IdempotencyClaim): unknown[] {
  return [
    claim.projectId,
    claim.key,
    claim.requestDigest,
    claim.runId,
    claim.accountId,
    claim.instanceId,
    new Date(claim.nowMs + CLAIM_LEASE_MS),
    new Date(claim.nowMs + (claim.retentionMs ?? IDEMPOTENCY_RETENTION_MS)),
    new Date(claim.nowMs),
  ];
}

function claimResultOf(row: ClaimRow): ClaimResult {
  if (row.claimed) return { status: 'claimed', chargedRunId: row.charged_run_id };
  if (row.same_request !== true) return { status: 'other_request' };
  if (row.state === 'completed') return { status: 'completed', answer: row.answer ?? '' };
  if (row.leased === true || row.run_id === null || row.account_id === null) return { status: 'running' };
  return { status: 'stale', runId: row.run_id, accountId: row.account_id, chargedRunId: row.charged_run_id };
}
