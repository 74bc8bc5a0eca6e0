/**
 * Runs a request at most once per idempotency key: claims the key, or finds the answer to replay, and keeps what became of the run. One charge
 * per key: a run whose answer was lost after it had been charged is repeated free of charge.
 */
import { createHash } from 'node:crypto';
import type { PriceTerms } from '../../../events/contract/index.js';
import type { Clock } from '../../../platform/clock.js';
import type { LedgerClient } from '../../ledger/ledger-client.js';
import { refuse } from '../refusals.js';
import { CLAIM_LEASE_MS, type IdempotencyClaim, type IdempotencyStore } from './idempotency-store.js';

/** Well within the lease, so that one slow renewal does not lose it. */
const RENEW_EVERY_MS = CLAIM_LEASE_MS / 3;

/** Expired keys go in steps of the store's own bound; one a minute keeps up with 80 keyed requests a second. */
const PURGE_EVERY_MS = 60_000;

/** Names what a key is bound to: the endpoint, the payer and the very bytes of the body. */
export function requestDigest(endpoint: string, consumerEmail: string | null, body: Buffer): Buffer {
  return createHash('sha256')
    .update(`${endpoint}\n${consumerEmail ?? ''}\n`)
    .update(body)
    .digest();
}

export type KeyedRequest = {
  readonly projectId: string;
  readonly key: string;
  readonly requestDigest: Buffer;
  readonly accountId: string;
  /** The id of the run if this request is the one that runs. */
  readonly runId: string;
};

/** A key claimed for a run. Exactly one of the endings is told. */
export type ClaimedRun = {
  /** The run to reserve for: usually the request's own; that of an instance that died before reserving, where its claim was taken over. */
  readonly runId: string;
  /** Set when the run must be free. */
  readonly terms: PriceTerms | null;
  /** The ledger no longer takes the dead instance's run id: continues under the request's own. */
  readonly restart: () => Promise<ClaimedRun>;
  readonly completed: (answer: string) => Promise<void>;
  /** Nothing was charged. */
  readonly failed: () => Promise<void>;
  /** It was charged and cannot be answered. */
  readonly answerLost: () => Promise<void>;
  /** Nobody knows yet. */
  readonly unknown: () => Promise<void>;
};

export type IdempotencyOptions = {
  readonly store: IdempotencyStore;
  readonly ledger: LedgerClient;
  readonly clock: Clock;
  readonly instanceId: string;
  /** From the preset. */
  readonly retentionMs?: number;
  readonly onTrouble: (message: string, error: unknown) => void;
};

export class Idempotency {
  readonly #options: IdempotencyOptions;
  #running = 0;
  #renewedAtMs = 0;
  #purgedAtMs: number;

  constructor(options: IdempotencyOptions) {
    this.#options = options;
    this.#purgedAtMs = options.clock.nowMs();
  }

  /** The answer to replay, or a claim. Throws `request_in_progress` or `idempotency_key_reused`. */
  async begin(request: KeyedRequest): Promise<{ readonly replay: string } | ClaimedRun> {
    const claim = this.#claimOf(request, request.runId);
    const result = await this.#options.store.claim(claim);
    switch (result.status) {
      case 'claimed':
        return this.#hold(request, request.runId, result.chargedRunId);
      case 'completed':
        return { replay: result.answer };
      case 'running':
        throw refuse('request_in_progress');
      case 'other_request':
        throw refuse('idempotency_key_reused', { param: 'Idempotency-Key' });
      case 'stale':
        return this.#takeOver(request, result);
    }
  }

  /** Called every tick; keeps the claims of this instance leased while there are any, and now and then forgets what has expired. */
  onTick(nowMs: number): void {
    const { store, instanceId, onTrouble } = this.#options;
    if (this.#running > 0 && nowMs - this.#renewedAtMs >= RENEW_EVERY_MS) {
      this.#renewedAtMs = nowMs;
      store.renew(instanceId, nowMs).catch((error: unknown) => onTrouble('leases of idempotency keys could not be renewed', error));
    }
    if (nowMs - this.#purgedAtMs >= PURGE_EVERY_MS) {
      this.#purgedAtMs = nowMs;
      store.purge(nowMs).catch((error: unknown) => onTrouble('expired idempotency keys could not be purged', error));
    }
  }

  async #takeOver(
    request: KeyedRequest,
    stale: { readonly runId: string; readonly accountId: string; readonly chargedRunId: string | null },
  ): Promise<ClaimedRun> {
    const became = await this.#options.ledger.reservation(stale.accountId, stale.runId);
    if (became.status === 'open') throw refuse('request_in_progress');
    const wasCharged = became.status === 'settled' && became.chargedNanos > 0n;
    const chargedRunId = stale.chargedRunId ?? (wasCharged ? stale.runId : null);
    // Before its reservation a run is known to nobody. Under the same run id the dead instance, should it wake, cannot reserve a second time.
    const runId = became.status === 'unknown' ? stale.runId : request.runId;
    const taken = await this.#options.store.takeOver(this.#claimOf(request, runId), stale.runId, chargedRunId);
    if (!taken) throw refuse('request_in_progress');
    return this.#hold(request, runId, chargedRunId);
  }

  #hold(request: KeyedRequest, runId: string, chargedRunId: string | null): ClaimedRun {
    const { store, clock, onTrouble } = this.#options;
    const held = { projectId: request.projectId, key: request.key, runId };
    this.#running += 1;
    if (this.#running === 1) this.#renewedAtMs = clock.nowMs();
    const end = async (change: Promise<void>): Promise<void> => {
      this.#running -= 1;
      // What cannot be written is found stale by the next attempt, which asks the ledger.
      await change.catch((error: unknown) => onTrouble('an idempotency key could not be updated', error));
    };
    return {
      runId,
      terms: chargedRunId === null ? null : { kind: 'free', reason: `repeat of ${chargedRunId}: its answer was lost after it was charged` },
      restart: async () => {
        await end(store.abandon(held));
        return this.#takeOverAbandoned(request, runId, chargedRunId);
      },
      completed: (answer) => end(store.complete(held, answer)),
      failed: () => end(store.release(held, null)),
      answerLost: () => end(store.release(held, runId)),
      unknown: () => end(store.abandon(held)),
    };
  }

  async #takeOverAbandoned(request: KeyedRequest, previousRunId: string, chargedRunId: string | null): Promise<ClaimedRun> {
    const taken = await this.#options.store.takeOver(this.#claimOf(request, request.runId), previousRunId, chargedRunId);
    if (!taken) throw refuse('request_in_progress');
    return this.#hold(request, request.runId, chargedRunId);
  }

  #claimOf(request: KeyedRequest, runId: string): IdempotencyClaim {
    return {
      projectId: request.projectId,
      key: request.key,
      requestDigest: request.requestDigest,
      runId,
      accountId: request.accountId,
      instanceId: this.#options.instanceId,
      nowMs: this.#options.clock.nowMs(),
      ...(this.#options.retentionMs === undefined ? {} : { retentionMs: this.#options.retentionMs }),
    };
  }
}
