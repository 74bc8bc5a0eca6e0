/** Idempotency keys in memory, with the rules of the Postgres store; both pass `idempotency-store-contract.ts`. For tests and simulations. */
import {
  CLAIM_LEASE_MS,
  type ClaimResult,
  type HeldClaim,
  IDEMPOTENCY_RETENTION_MS,
  type IdempotencyClaim,
  type IdempotencyStore,
} from '../idempotency/idempotency-store.js';

type Row = {
  readonly requestDigest: Buffer;
  state: 'running' | 'completed' | 'failed';
  readonly runId: string;
  readonly accountId: string;
  instanceId: string;
  leaseUntilMs: number;
  chargedRunId: string | null;
  answer: string | null;
  readonly expiresAtMs: number;
};

export class MemoryIdempotencyStore implements IdempotencyStore {
  readonly #rows = new Map<string, Row>();

  async claim(claim: IdempotencyClaim): Promise<ClaimResult> {
    const held = this.#rows.get(rowKey(claim));
    if (held === undefined || held.expiresAtMs <= claim.nowMs) return this.#hold(claim, null);
    if (!held.requestDigest.equals(claim.requestDigest)) return { status: 'other_request' };
    if (held.state === 'failed') return this.#hold(claim, held.chargedRunId);
    if (held.state === 'completed') return { status: 'completed', answer: held.answer ?? '' };
    if (held.leaseUntilMs > claim.nowMs) return { status: 'running' };
    return { status: 'stale', runId: held.runId, accountId: held.accountId, chargedRunId: held.chargedRunId };
  }

  async takeOver(claim: IdempotencyClaim, previousRunId: string, chargedRunId: string | null): Promise<boolean> {
    const held = this.#held({ ...claim, runId: previousRunId });
    if (held === null || held.leaseUntilMs > claim.nowMs || !held.requestDigest.equals(claim.requestDigest)) return false;
    this.#hold(claim, chargedRunId);
    return true;
  }

  async complete(claim: HeldClaim, answer: string): Promise<void> {
    const held = this.#held(claim);
    if (held !== null) Object.assign(held, { state: 'completed', answer });
  }

  async release(claim: HeldClaim, chargedRunId: string | null): Promise<void> {
    const held = this.#held(claim);
    if (held !== null) Object.assign(held, { state: 'failed', chargedRunId: held.chargedRunId ?? chargedRunId });
  }

  async abandon(claim: HeldClaim): Promise<void> {
    const held = this.#held(claim);
    if (held !== null) Object.assign(held, { instanceId: '', leaseUntilMs: Number.NEGATIVE_INFINITY });
  }

  async renew(instanceId: string, nowMs: number): Promise<void> {
    for (const row of this.#rows.values()) {
      if (row.state === 'running' && row.instanceId === instanceId) row.leaseUntilMs = nowMs + CLAIM_LEASE_MS;
    }
  }

  async purge(nowMs: number): Promise<number> {
    let purged = 0;
    for (const [key, row] of this.#rows) {
      if (row.expiresAtMs > nowMs) continue;
      this.#rows.delete(key);
      purged += 1;
    }
    return purged;
  }

  #hold(claim: IdempotencyClaim, chargedRunId: string | null): ClaimResult {
    this.#rows.set(rowKey(claim), {
      requestDigest: claim.requestDigest,
      state: 'running',
      runId: claim.runId,
      accountId: claim.accountId,
      instanceId: claim.instanceId,
      leaseUntilMs: claim.nowMs + CLAIM_LEASE_MS,
      chargedRunId,
      answer: null,
      expiresAtMs: claim.nowMs + (claim.retentionMs ?? IDEMPOTENCY_RETENTION_MS),
    });
    return { status: 'claimed', chargedRunId };
  }

  #held(claim: HeldClaim): Row | null {
    const row = this.#rows.get(rowKey(claim));
    return row !== undefined && row.state === 'running' && row.runId === claim.runId ? row : null;
  }
}

function rowKey(claim: { readonly projectId: string; readonly key: string }): string {
  return `${claim.projectId}\n${claim.key}`;
}
