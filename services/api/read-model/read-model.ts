/** What the API reads of the projector's views. Never asked to admit a request: admission is the ledger's alone. */
import type {
  AudioUsage,
  CancelPolicy,
  Environment,
  Nanos,
  PriceTerms,
  RunOutcome,
  TokenUsage,
  UsageSource,
} from '../../../events/contract/index.js';

/** A run's record. Until it is settled its charge, refund and usage are unknown, which is not the same as zero. */
export type RequestRecord = {
  readonly runId: string;
  readonly accountId: string;
  readonly projectId: string;
  /** Who paid, when it was not the project. */
  readonly consumerId: string | null;
  readonly keyId: string;
  readonly model: string;
  readonly unit: string;
  readonly status: 'reserved' | RunOutcome;
  readonly finishReason: string | null;
  readonly errorCode: string | null;
  readonly attempt: number | null;
  readonly usage: TokenUsage | null;
  /** Who counted: the engine, or the worker by a stated rule where an upstream gives no counts. */
  readonly usageSource: 'engine' | UsageSource;
  readonly heldNanos: Nanos;
  readonly chargedNanos: Nanos | null;
  readonly refundedNanos: Nanos | null;
  readonly priceVersion: string;
  readonly terms: PriceTerms;
  readonly promptTokensMax: number;
  readonly outputTokensBudget: number;
  /** What is to be transcribed, as measured; by this the hold was computed. */
  readonly audioHeld: AudioUsage | null;
  /** What a cancelled run costs: what it generated, or nothing. */
  readonly cancelPolicy: CancelPolicy;
  readonly reservedAtMs: number;
  readonly deadlineAtMs: number;
  readonly settledAtMs: number | null;
  readonly eventIds: {
    readonly reserved: string;
    readonly usage: string | null;
    readonly refund: string | null;
    readonly settled: string | null;
  };
  /** Where the facts stand in the account's stream; `null` for what has not come yet, and in rows from before the column. */
  readonly revisions: { readonly reserved: number | null; readonly settled: number | null };
};

/** Sums over runs. Tokens and counts stay far below 2^53. */
export type UsageSums = {
  readonly requests: number;
  readonly completed: number;
  readonly cancelled: number;
  readonly failed: number;
  readonly expired: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  readonly chargedNanos: Nanos;
};

/** A moment as a report's boundary: an instant, or a wall-clock time (`2026-04-01T00:00:00`) that the report's time zone turns into one. */
export type ReportBoundary = { readonly kind: 'instant' | 'local'; readonly text: string };

export type UsageQuery = {
  readonly projectId: string;
  readonly unit: string;
  /** `null`: 30 days up to `to`. */
  readonly from: ReportBoundary | null;
  /** Exclusive; `null`: now. */
  readonly to: ReportBoundary | null;
  /** A canonical IANA name. */
  readonly timezone: string;
  readonly nowMs: number;
  readonly groupBy: 'model' | 'consumer' | null;
};

export type UsageReport = {
  /** Where the report really begins and ends: on quarters of an hour, which is how usage is kept. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly totals: UsageSums;
  /** Every day of the range in the time zone, in order; days without use are zero. */
  readonly days: readonly (UsageSums & { readonly date: string })[];
  /** By `groupBy`, dearest first, at most `USAGE_GROUPS_MAX`; a project's own use has the empty consumer id. */
  readonly groups: readonly (UsageSums & { readonly key: string })[] | null;
  readonly areGroupsTruncated: boolean;
};

export type UsageResult =
  | { readonly status: 'reported'; readonly report: UsageReport }
  | { readonly status: 'refused'; readonly reason: 'range_empty' | 'range_too_long' };

/** Days that one report may span. A leap year and a month of comparison fit. */
export const USAGE_DAYS_MAX = 400;
export const USAGE_DAYS_DEFAULT = 30;
export const USAGE_GROUPS_MAX = 1_000;

export type AccountView = {
  readonly accountId: string;
  readonly availableNanos: Nanos;
  readonly heldNanos: Nanos;
  readonly revision: number;
};

export type ConsumerBilling = {
  readonly consumerId: string;
  readonly grantedNanos: Nanos;
  readonly chargedNanos: Nanos;
  readonly requests: number;
  readonly lastRequestAtMs: number | null;
};

export type TrialBalanceLine = {
  readonly unit: string;
  readonly environment: Environment;
  readonly ledgerAccount: string;
  readonly balanceNanos: Nanos;
  readonly postings: number;
};

export type AccountRevision = { readonly accountId: string; readonly revision: number };

export interface ReadModel {
  /** `null` for a run that is unknown or another project's. */
  request(projectId: string, runId: string): Promise<RequestRecord | null>;
  usage(query: UsageQuery): Promise<UsageResult>;
  /** Accounts that were never opened are absent. At most `ACCOUNTS_PER_READ_MAX` ids. */
  accounts(accountIds: readonly string[]): Promise<ReadonlyMap<string, AccountView>>;
  /** `null` for a consumer without any billing, or of another project. */
  consumerBilling(projectId: string, consumerId: string): Promise<ConsumerBilling | null>;
  /** Every ledger account of every unit and environment, in a stable order. */
  trialBalance(): Promise<TrialBalanceLine[]>;
  /**
   * Resolves `current` when every account's view has reached its revision, or `stale` after `timeoutMs` (or at once when too many readers
   * wait already).
   */
  waitForRevisions(revisions: readonly AccountRevision[], timeoutMs: number): Promise<'current' | 'stale'>;
}

export const ACCOUNTS_PER_READ_MAX = 200;
