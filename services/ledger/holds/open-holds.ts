/** Finds holds that may be due. A view: it may lag, so what it names is only looked at again; the account's stream decides. */

export type OpenHold = { readonly accountId: string; readonly runId: string };

export interface OpenHolds {
  /** Holds whose deadline lies before `beforeMs`, oldest deadline first, at most `limit`. */
  dueBefore(beforeMs: number, limit: number): Promise<OpenHold[]>;
  /** Holds made before `beforeMs`, at most `limit`; for releasing what a crash interrupted. */
  reservedBefore(beforeMs: number, limit: number): Promise<OpenHold[]>;
  /** Unix milliseconds of the oldest open hold, or `null`; for the gauge. */
  oldestReservedMs(): Promise<number | null>;
}
