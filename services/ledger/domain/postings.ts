/** The double-entry postings of each fact. Money always leaves one ledger account for another, so every sum is zero by construction. */
import type { GrantKind, LedgerAccountName, Nanos, Posting } from '../../../events/contract/index.js';
import { invariant } from './invariant.js';

/** `available` to `held`. */
export function reservationPostings(heldNanos: Nanos): Posting[] {
  return move('available', 'held', heldNanos);
}

/** `held` to `revenue`. */
export function chargePostings(chargedNanos: Nanos): Posting[] {
  return move('held', 'revenue', chargedNanos);
}

/** `held` back to `available`. */
export function refundPostings(refundedNanos: Nanos): Posting[] {
  return move('held', 'available', refundedNanos);
}

/** From where the credit comes to `available`; the other way round for a negative adjustment. */
export function grantPostings(kind: GrantKind, amountNanos: Nanos, provider: string): Posting[] {
  const source = grantSource(kind, provider);
  return amountNanos >= 0n ? move(source, 'available', amountNanos) : move('available', source, -amountNanos);
}

function grantSource(kind: GrantKind, provider: string): LedgerAccountName {
  switch (kind) {
    case 'starter':
      return 'promotions';
    case 'adjustment':
      return 'adjustments';
    case 'top_up':
    case 'clawback':
      return `payments:${provider}`;
  }
}

/** A posting of nothing is left out: it would say that money moved. */
function move(from: LedgerAccountName, to: LedgerAccountName, amountNanos: Nanos): Posting[] {
  invariant(amountNanos >= 0n, 'postings move positive amounts');
  return amountNanos === 0n ? [] : [{ from, to, amountNanos }];
}
