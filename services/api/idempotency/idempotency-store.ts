/**
 * Where idempotency keys live. A key belongs to a project and to one request body; it has one run at a time and at most one charge.
 *
 *   (absent) ──claim──▶ running ──complete──▶ completed        replayed for `IDEMPOTENCY_RETENTION_MS`
 *                         │ ▲
 *                  release│ │claim                              failed: nothing was charged, or the answer was lost
 *                         ▼ │
 *                       failed
 *   running, lease over ──takeOver──▶ running                   its instance died; the ledger says what became of the run
 */

/** How long a key and its answer are kept. */
export const IDEMPOTENCY_RETENTION_MS = 24 * 60 * 60 * 1_000;
/**
 * A running claim is its instance's for this long after the last renewal. Short, because only the stretch between claim and reservation
 * depends on it; from then on the ledger knows the run.
 */
export const CLAIM_LEASE_MS = 5_000;

export type IdempotencyClaim = {
  readonly projectId: string;
  readonly key: string;
  /** SHA-256 of everything that makes the request what it is. */
  readonly requestDigest: Buffer;
  readonly runId: string;
  readonly accountId: string;
  readonly instanceId: string;
  readonly nowMs: number;
  /** How long the key is remembered; `IDEMPOTENCY_RETENTION_MS` where absent, and never longer. */
  readonly retentionMs?: number;
};

export type ClaimResult =
  /** The caller runs. `chargedRunId` names an earlier run under this key that was charged and whose answer was lost: this one is free. */
  | { readonly status: 'claimed'; readonly chargedRunId: string | null }
  | { readonly status: 'running' }
  | { readonly status: 'completed'; readonly answer: string }
  | { readonly status: 'other_request' }
  /** The instance that ran it is gone; ask the ledger about the run, then `takeOver`. */
  | { readonly status: 'stale'; readonly runId: string; readonly accountId: string; readonly chargedRunId: string | null };

/** Identifies a claim that is held: every change is fenced by the run id. */
export type HeldClaim = { readonly projectId: string; readonly key: string; readonly runId: string };

export interface IdempotencyStore {
  claim(claim: IdempotencyClaim): Promise<ClaimResult>;
  /** Replaces a stale claim. `false`: somebody else was faster. */
  takeOver(claim: IdempotencyClaim, previousRunId: string, chargedRunId: string | null): Promise<boolean>;
  /** Keeps the answer for replays. */
  complete(claim: HeldClaim, answer: string): Promise<void>;
  /** Allows a new attempt. `chargedRunId` makes that attempt free. */
  release(claim: HeldClaim, chargedRunId: string | null): Promise<void>;
  /** Ends the lease while it is unknown what became of the run: the next attempt asks the ledger. */
  abandon(claim: HeldClaim): Promise<void>;
  /** Extends the leases of all claims that an instance holds. */
  renew(instanceId: string, nowMs: number): Promise<void>;
  /** Forgets what is past its retention; returns how many keys went. Bounded per call, so repeat until it returns 0. */
  purge(nowMs: number): Promise<number>;
}
