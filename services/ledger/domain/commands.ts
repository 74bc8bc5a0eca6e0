/** What can be asked of an account. Imperative names; every command is idempotent by the id it carries. */
import {
  type AccountEvent,
  type FinishReason,
  NO_USAGE,
  type RunErrorCode,
  type RunOutcome,
  type TokenUsage,
  type UsageSource,
} from '../../../events/contract/index.js';
import type { AccountOpening, GrantCredit, ReserveCredit } from '../ledger-client.js';

export type OpenAccountCommand = { readonly type: 'OpenAccount'; readonly accountId: string; readonly opening: AccountOpening };
export type ReserveCreditCommand = { readonly type: 'ReserveCredit' } & ReserveCredit;
export type GrantCreditCommand = { readonly type: 'GrantCredit' } & GrantCredit;

/**
 * Closes a reservation with the result of its run. A reservation that is not open any more is left as it is; one that is overdue expires,
 * unless the result is a failure.
 */
export type SettleReservationCommand = {
  readonly type: 'SettleReservation';
  readonly accountId: string;
  readonly runId: string;
  readonly outcome: Exclude<RunOutcome, 'expired'>;
  readonly finishReason: FinishReason | null;
  readonly usage: TokenUsage;
  readonly usageSource?: UsageSource;
  readonly errorCode: string | null;
  readonly attempt: number;
  /** Of what was put out, as the worker hashed it. */
  readonly responseHash?: string;
  /** What ran. */
  readonly systemFingerprint?: string;
};

/**
 * Time a result may take through bus and ledger after its run's deadline. Then the run has expired, whatever still comes: who waited for it
 * has been told that it failed, and nobody pays for a failure.
 */
export const EXPIRY_GRACE_MS = 10_000;

/** Releases a hold whose deadline plus `EXPIRY_GRACE_MS` has passed; before that it changes nothing. */
export type ExpireReservationCommand = { readonly type: 'ExpireReservation'; readonly accountId: string; readonly runId: string };

export type AccountCommand =
  | OpenAccountCommand
  | ReserveCreditCommand
  | GrantCreditCommand
  | SettleReservationCommand
  | ExpireReservationCommand;

/** Ends a run that produced no result: everything is refunded, the cause stands on the entry. */
export function failedSettlement(
  run: { readonly accountId: string; readonly runId: string },
  errorCode: RunErrorCode,
): SettleReservationCommand {
  return { type: 'SettleReservation', ...run, outcome: 'failed', finishReason: null, usage: NO_USAGE, errorCode, attempt: 0 };
}

/** Stable name of a command for event ids: the same intent has the same id however often it is sent. */
export function commandIdOf(command: AccountCommand): string {
  switch (command.type) {
    case 'OpenAccount':
      return openCommandId(command.accountId);
    case 'ReserveCredit':
      return `reserve/${command.runId}`;
    case 'GrantCredit':
      return `grant/${command.accountId}/${command.grantId}`;
    case 'SettleReservation':
    case 'ExpireReservation':
      // One name for both: whichever comes first closes the reservation.
      return `settle/${command.runId}`;
  }
}

/** Opening facts ride along with whatever command found the account missing; their ids never depend on which one that was. */
export function commandIdOfEvent(command: AccountCommand, event: AccountEvent): string {
  const isOpening = event.type === 'AccountOpened' || (event.type === 'CreditGranted' && event.kind === 'starter');
  return isOpening ? openCommandId(command.accountId) : commandIdOf(command);
}

function openCommandId(accountId: string): string {
  return `open/${accountId}`;
}
