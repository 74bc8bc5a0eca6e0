/** The trial balance: what stands on each ledger account. Every posting adds as much on one side as it takes from the other. */
import type { AccountContext, ProjectedEvent } from './projected-event.js';

/** Added to the row of its key. */
export type TrialBalanceChange = {
  readonly unit: string;
  readonly environment: string;
  readonly ledgerAccount: string;
  balanceNanos: bigint;
  postings: number;
};

export type TrialBalanceChanges = Map<string, TrialBalanceChange>;

export function applyToTrialBalance(changes: TrialBalanceChanges, { event, account }: ProjectedEvent): void {
  if (!('postings' in event)) return;
  for (const { from, to, amountNanos } of event.postings) {
    add(changes, account, from, -amountNanos);
    add(changes, account, to, amountNanos);
  }
}

function add(changes: TrialBalanceChanges, { unit, environment }: AccountContext, ledgerAccount: string, amountNanos: bigint): void {
  const key = `${unit} ${environment} ${ledgerAccount}`;
  let change = changes.get(key);
  if (change === undefined) {
    change = { unit, environment, ledgerAccount, balanceNanos: 0n, postings: 0 };
    changes.set(key, change);
  }
  change.balanceNanos += amountNanos;
  change.postings += 1;
}
