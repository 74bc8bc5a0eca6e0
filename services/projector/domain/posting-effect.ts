/**
 * What an event's postings do to its account, asserted against what the event itself says it does. The ledger asserts the same when it
 * appends; asserting it again here means that no path into the store can put unbalanced books in front of finance.
 */
import type { AccountEvent, Nanos } from '../../../events/contract/index.js';
import { BrokenBooksError } from './broken-books-error.js';

/** Signed changes of the account's own two ledger accounts. */
export type PostingEffect = { readonly availableNanos: Nanos; readonly heldNanos: Nanos };

const NO_EFFECT: PostingEffect = { availableNanos: 0n, heldNanos: 0n };

/** Throws `BrokenBooksError` when the postings move anything but what the event says. */
export function effectOfPostings(event: AccountEvent): PostingEffect {
  if (!('postings' in event)) return NO_EFFECT;
  let availableNanos = 0n;
  let heldNanos = 0n;
  for (const { from, to, amountNanos } of event.postings) {
    if (amountNanos <= 0n || from === to)
      throw new BrokenBooksError(`${event.type} of ${event.accountId} has a posting that moves nothing`);
    if (from === 'available') availableNanos -= amountNanos;
    else if (from === 'held') heldNanos -= amountNanos;
    if (to === 'available') availableNanos += amountNanos;
    else if (to === 'held') heldNanos += amountNanos;
  }
  const [availableExpected, heldExpected] = effectStated(event);
  if (availableNanos !== availableExpected || heldNanos !== heldExpected) {
    throw new BrokenBooksError(
      `${event.type} of ${event.accountId} posts ${availableNanos} to available and ${heldNanos} to held instead of ${availableExpected} and ${heldExpected}`,
    );
  }
  return { availableNanos, heldNanos };
}

/** Change of available, change of held. */
function effectStated(event: Extract<AccountEvent, { postings: unknown }>): readonly [Nanos, Nanos] {
  switch (event.type) {
    case 'CreditGranted':
      return [event.amountNanos, 0n];
    case 'CreditReserved':
      return [-event.heldNanos, event.heldNanos];
    case 'UsageRecorded':
      return [0n, -event.chargedNanos];
    case 'CreditRefunded':
      return [event.refundedNanos, -event.refundedNanos];
  }
}
