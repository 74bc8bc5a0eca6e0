/**
 * The facts of an account's life. Every run leaves the same four: `CreditReserved`, `UsageRecorded`, `CreditRefunded` (the unused part of
 * the hold, possibly zero) and `ReservationSettled`. Events that move money carry the double-entry postings that move it.
 *
 * In memory amounts are bigint nanos; on the wire they are decimal strings. `account-events-codec.ts` converts and upcasts.
 */
import type { Nanos } from './money.js';
import type { AudioUsage, PriceTerms, TokenUsage, UsageSource } from './pricing.js';

/**
 * Ledger accounts that postings move money between. `available` and `held` are the holder's own; the others are the operator's:
 * `revenue` (charges), `promotions` (starter credit), `adjustments` (corrections by staff), `payments:<provider>` (money received),
 * `expired` (credit that lapsed).
 */
export type LedgerAccountName = 'available' | 'held' | 'revenue' | 'promotions' | 'adjustments' | 'expired' | `payments:${string}`;

/** `amountNanos` is positive and leaves `from` for `to`, so the sum over all ledger accounts is zero by construction. */
export type Posting = { readonly from: LedgerAccountName; readonly to: LedgerAccountName; readonly amountNanos: Nanos };

/** Who holds the credit. A consumer belongs to the project that sends its header. */
export type AccountHolder =
  | { readonly kind: 'project'; readonly projectId: string }
  | { readonly kind: 'consumer'; readonly projectId: string; readonly consumerId: string };

/** `live` money, or `test` credit that never mixes with it. */
export type Environment = 'live' | 'test';

export type AccountOpened = {
  readonly type: 'AccountOpened';
  readonly accountId: string;
  readonly holder: AccountHolder;
  /** The preset's unit, such as `USD` or `credit`. */
  readonly unit: string;
  readonly environment: Environment;
};

/**
 * Why credit was given: `starter` on sign-up, `adjustment` by staff (may be negative), `top_up` for money received. `clawback` takes back a
 * top-up whose money was returned or disputed: always negative, and the only kind that may leave an account below zero.
 */
export type GrantKind = 'starter' | 'adjustment' | 'top_up' | 'clawback';

export type CreditGranted = {
  readonly type: 'CreditGranted';
  readonly accountId: string;
  readonly grantId: string;
  readonly kind: GrantKind;
  /** Signed: a negative adjustment takes credit away. */
  readonly amountNanos: Nanos;
  readonly reason: string;
  readonly postings: readonly Posting[];
};

/** Whether tokens generated before a client's cancellation are charged. Failures and expiries are never charged. */
export type CancelPolicy = 'charge_generated' | 'refund_all';

export type CreditReserved = {
  readonly type: 'CreditReserved';
  readonly accountId: string;
  readonly runId: string;
  readonly holder: AccountHolder;
  readonly keyId: string;
  readonly model: string;
  /** The hold: the most that this run can cost. */
  readonly heldNanos: Nanos;
  readonly priceVersion: string;
  readonly terms: PriceTerms;
  /** Upper bound of the prompt, by which the hold was computed. */
  readonly promptTokensMax: number;
  /** The worker ends the run with `finish_reason: "length"` here. */
  readonly outputTokensBudget: number;
  readonly cancelPolicy: CancelPolicy;
  /** Unix milliseconds; after this plus the grace the hold is released. */
  readonly deadlineMs: number;
  /** The audio to be transcribed, by which the hold was computed; absent where there is none. */
  readonly audio?: AudioUsage;
  /** SHA-256 of the request's body as it came, in hex; absent in older books. */
  readonly requestHash?: string;
  readonly postings: readonly Posting[];
};

export type UsageRecorded = {
  readonly type: 'UsageRecorded';
  readonly accountId: string;
  readonly runId: string;
  readonly usage: TokenUsage;
  readonly usageSource?: UsageSource;
  readonly chargedNanos: Nanos;
  readonly postings: readonly Posting[];
};

export type CreditRefunded = {
  readonly type: 'CreditRefunded';
  readonly accountId: string;
  readonly runId: string;
  /** Zero when the hold was used up. */
  readonly refundedNanos: Nanos;
  readonly postings: readonly Posting[];
};

/** How a run ended. Only `completed` and (by policy) `cancelled` runs are charged. */
export type RunOutcome = 'completed' | 'cancelled' | 'failed' | 'expired';
export const FINISH_REASONS = ['stop', 'length', 'tool_calls'] as const;
/** Why generation ended by itself. Of a run with several answers: `length` when any was cut short. */
export type FinishReason = (typeof FINISH_REASONS)[number];

export type ReservationSettled = {
  readonly type: 'ReservationSettled';
  readonly accountId: string;
  readonly runId: string;
  readonly outcome: RunOutcome;
  readonly finishReason: FinishReason | null;
  /** Exact name of the failure, or `null`. */
  readonly errorCode: string | null;
  readonly chargedNanos: Nanos;
  readonly refundedNanos: Nanos;
  /** Which attempt's result was accepted, counting from 1; 0 when none arrived. */
  readonly attempt: number;
  /** Of the answer that was generated, see `answer-hash.ts`; absent where there was none, and in older books. */
  readonly responseHash?: string;
  /** What ran; absent where nothing did, and in older books. */
  readonly systemFingerprint?: string;
};

export type AccountEvent = AccountOpened | CreditGranted | CreditReserved | UsageRecorded | CreditRefunded | ReservationSettled;
export type AccountEventType = AccountEvent['type'];

/** For the `default` of a switch over events: the compiler proves it is never reached, and a bug that reaches it is loud. */
export function unreachableEvent(event: never): never {
  throw new Error(`unhandled account event ${JSON.stringify(event)}`);
}
