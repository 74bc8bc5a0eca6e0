/**
 * The limits as the API sees them: requests are let in before their body is read, tokens are counted when a run is planned, headers tell what is
 * left. Two limiters keep one contract (`limiter-contract.ts`): `RateLimiter` counts in this process, `PostgresLimiter` for all instances.
 */

export type LimitedCaller = {
  readonly keyId: string;
  readonly projectId: string;
  /** Whose limits apply; the preset's default for `null`, for none and for one that the preset does not have. */
  readonly plan?: string | null;
};

export type LimitRefusal = {
  readonly status: 'refused';
  readonly refusal: 'rate_limited' | 'concurrency_limited';
  readonly message: string;
  readonly retryAfterSeconds: number;
};

/** A request let in. Call `release` when it has ended, however it ended; more than once changes nothing. */
export type LimitPass = { readonly status: 'admitted'; readonly release: () => void };

/** Tokens counted before a run by its bound; `settle` replaces the bound by what the engine counted, once. */
export type TokenReservation = { readonly settle: (tokens: number) => void };

/** Where tokens are not limited. */
export const UNLIMITED_TOKENS: TokenReservation = { settle: () => undefined };

/** One limit as headers tell it. Of a request count `remaining` is of the limit a minute, a burst may exceed it. */
export type WindowUsage = { readonly limit: number; readonly remaining: number; readonly resetMs: number };

/** `null` stands for a limit that the caller does not have. */
export type LimitUsage = {
  readonly requests: WindowUsage | null;
  readonly tokens: WindowUsage | null;
  readonly project: { readonly minute: WindowUsage; readonly day: WindowUsage } | null;
};

/** Answers at once where that is possible: who waits for a value that is there pays for it on every request. */
export interface Limiter {
  /** A request that one limit refuses is not counted by the others. Rejects when the counts cannot be reached; then nothing runs. */
  admit(caller: LimitedCaller): LimitPass | LimitRefusal | Promise<LimitPass | LimitRefusal>;

  /** Counts a run's bound against the key's tokens a minute. A bound above the whole limit counts as the limit, so that every run can pass. */
  reserveTokens(caller: LimitedCaller, tokensMax: number): TokenReservation | LimitRefusal | Promise<TokenReservation | LimitRefusal>;

  /** What the headers tell, as far as it is known here; `null` is somebody who was not authenticated, for whom nothing remains. */
  usageOf(caller: LimitedCaller | null): LimitUsage;

  /** How many requests of a key are under way in this process. */
  concurrentOf(keyId: string): number;
}
