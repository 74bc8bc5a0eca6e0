/** The one port through which the API reaches the ledger: in-process when embedded, HTTP to the ledger service when distributed. */
import type {
  AccountHolder,
  AudioUsage,
  CancelPolicy,
  Environment,
  GrantKind,
  Nanos,
  PriceTerms,
  RecordedEvent,
  ReservationSettled,
  RunErrorCode,
  TokenUsage,
} from '../../events/contract/index.js';

/** How to open an account that does not exist yet, in the same append as the command that finds it missing. */
export type AccountOpening = {
  readonly holder: AccountHolder;
  readonly unit: string;
  readonly environment: Environment;
  /** Granted on opening; 0 for none. */
  readonly starterNanos: Nanos;
};

export type ReserveCredit = {
  readonly accountId: string;
  readonly runId: string;
  readonly opening: AccountOpening;
  readonly keyId: string;
  readonly model: string;
  readonly priceVersion: string;
  readonly terms: PriceTerms;
  /** Upper bound of the prompt's tokens. */
  readonly promptTokensMax: number;
  /** The most the model may generate for this request. */
  readonly outputTokensMax: number;
  /** `true`: the client asked for exactly `outputTokensMax`; refuse rather than shorten. `false`: cap it to what the balance affords. */
  readonly outputTokensExplicit: boolean;
  /** The fewest that are of use: one for each answer, 0 where nothing is generated. 1 where absent. */
  readonly outputTokensMin?: number;
  /** The audio to be transcribed, as measured; priced by audio terms. */
  readonly audio?: AudioUsage;
  /** SHA-256 of the request's body as it came, in hex. */
  readonly requestHash?: string;
  readonly cancelPolicy: CancelPolicy;
  readonly deadlineMs: number;
};

export type ReserveResult =
  | {
      readonly status: 'reserved';
      readonly heldNanos: Nanos;
      readonly outputTokensBudget: number;
      readonly availableNanos: Nanos;
      readonly revision: number;
    }
  /** `affordableOutputTokens` says what the balance would pay for at this price (0: not even one). */
  | {
      readonly status: 'refused';
      readonly reason: 'insufficient_credit';
      readonly requiredNanos: Nanos;
      readonly availableNanos: Nanos;
      readonly affordableOutputTokens: number;
    }
  | {
      readonly status: 'refused';
      readonly reason:
        | 'reservation_exists_with_different_request'
        | 'reservation_already_settled'
        | 'reservation_id_too_old'
        | 'account_at_capacity'
        | 'unit_mismatch';
    };

export type GrantCredit = {
  readonly accountId: string;
  /** Makes the command idempotent. */
  readonly grantId: string;
  readonly opening: AccountOpening;
  readonly kind: GrantKind;
  /** Negative only for an adjustment, and always for a clawback. */
  readonly amountNanos: Nanos;
  readonly reason: string;
  /** Names the ledger account `payments:<provider>` of a top-up or clawback; `manual` when staff took the money. */
  readonly provider?: string;
};

export type GrantResult =
  | { readonly status: 'granted'; readonly availableNanos: Nanos; readonly revision: number; readonly eventId: string }
  | {
      readonly status: 'refused';
      readonly reason:
        | 'grant_exists_with_different_terms'
        | 'grant_id_too_old'
        | 'insufficient_credit'
        | 'unit_mismatch'
        | 'amount_out_of_range';
    };

export type AccountBalance = {
  readonly accountId: string;
  readonly unit: string;
  readonly availableNanos: Nanos;
  readonly heldNanos: Nanos;
  readonly revision: number;
};

export type ReservationStatus =
  | { readonly status: 'open'; readonly deadlineMs: number }
  | {
      readonly status: 'settled';
      readonly outcome: ReservationSettled['outcome'];
      readonly chargedNanos: Nanos;
      readonly usage: TokenUsage;
    }
  | { readonly status: 'unknown' };

/** Events of one reading: a settlement with what stands before it, several times over. */
export const ACCOUNT_EVENTS_MAX = 16;

/** The outcome of a command could not be learnt within the bound (store down or too slow). Retry with the same ids is safe. */
export class LedgerUnavailableError extends Error {
  override readonly name = 'LedgerUnavailableError';
}

export interface LedgerClient {
  /** Opens the account with its starter credit when it does not exist; otherwise changes nothing. */
  openAccount(command: { readonly accountId: string; readonly opening: AccountOpening }): Promise<AccountBalance>;
  /** Idempotent by run id. Durable when it resolves `reserved`. Rejects with `LedgerUnavailableError`. */
  reserve(command: ReserveCredit): Promise<ReserveResult>;
  /** Idempotent by grant id. */
  grant(command: GrantCredit): Promise<GrantResult>;
  /** The account's own truth, or `null` when it was never opened. */
  balance(accountId: string): Promise<AccountBalance | null>;
  /** What became of a hold; `unknown` when there never was one or it left the bounded window. */
  reservation(accountId: string, runId: string): Promise<ReservationStatus>;
  /**
   * Ends a run for which no work was or will be asked: failed, everything refunded. Changes nothing where no such hold is open. Idempotent;
   * the refund is durable when it resolves.
   */
  abandonRun(run: { readonly accountId: string; readonly runId: string; readonly errorCode: RunErrorCode }): Promise<void>;
  /** Facts of an account as they are stored, from a revision on; at most `ACCOUNT_EVENTS_MAX`. What receipts are made of. */
  accountEvents(range: { readonly accountId: string; readonly fromRevision: number; readonly maxCount: number }): Promise<RecordedEvent[]>;
}

export type * from './payments/payments-client.js';
