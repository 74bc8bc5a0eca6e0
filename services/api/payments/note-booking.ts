/** After a booking the payer's balance is read at least as new as it. */
import type { Payment } from '../../ledger/ledger-client.js';
import type { LastRevisions } from '../read-model/last-revisions.js';

export function noteBooking(lastRevisions: LastRevisions): (payment: Payment) => void {
  return ({ accountId, accountRevision, holder }) => lastRevisions.note(accountId, accountRevision, holder.projectId);
}
