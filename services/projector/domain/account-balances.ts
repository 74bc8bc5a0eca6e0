/** Balance of each account: what is available, held, and was ever charged and granted. After a clawback `available` may be negative. */
import { effectOfPostings } from './posting-effect.js';
import type { AccountContext, ProjectedEvent } from './projected-event.js';

/** Changes to one account's row; amounts are added to what stands there. */
export type AccountBalanceChange = {
  readonly account: AccountContext;
  availableNanos: bigint;
  heldNanos: bigint;
  chargedNanos: bigint;
  grantedNanos: bigint;
  updatedAtMs: number;
};

export type AccountBalanceChanges = Map<string, AccountBalanceChange>;

export function applyToAccountBalances(changes: AccountBalanceChanges, { event, account, occurredAtMs }: ProjectedEvent): void {
  let change = changes.get(account.accountId);
  if (change === undefined) {
    change = { account, availableNanos: 0n, heldNanos: 0n, chargedNanos: 0n, grantedNanos: 0n, updatedAtMs: 0 };
    changes.set(account.accountId, change);
  }
  change.updatedAtMs = occurredAtMs;
  if (event.type === 'CreditGranted') change.grantedNanos += event.amountNanos;
  else if (event.type === 'UsageRecorded') change.chargedNanos += event.chargedNanos;
  const effect = effectOfPostings(event);
  change.availableNanos += effect.availableNanos;
  change.heldNanos += effect.heldNanos;
}
