/**
 * Settles a run where its credit was reserved. The topic of results is divided over the ledger instances by partition, so a result mostly comes to
 * one that is not the account's preferred instance; two writers of one stream in turn cost a conflict and a reading of the account each time.
 */
import { LedgerUnavailableError } from '../ledger-client.js';
import type { Settle } from '../reactors/settle-finished-runs.js';
import type { HttpLedgerClient } from './http-ledger-client.js';

export type SettleWherePreferredOptions = {
  /** Over all instances, this one included, named as their callers name them. */
  readonly peers: Pick<HttpLedgerClient, 'preferredFor' | 'settle'>;
  /** This instance's base URL, as `peers` has it; saves the way to itself. */
  readonly ownUrl: string | null;
  readonly settleHere: Settle;
};

export function settleWherePreferred({ peers, ownUrl, settleHere }: SettleWherePreferredOptions): Settle {
  return async (command) => {
    if (peers.preferredFor(command.accountId) === ownUrl) return settleHere(command);
    try {
      return await peers.settle(command);
    } catch (error) {
      // Any instance may write any account, and settling again changes nothing.
      if (error instanceof LedgerUnavailableError) return settleHere(command);
      throw error;
    }
  };
}
