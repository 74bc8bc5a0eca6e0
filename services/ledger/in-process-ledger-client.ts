/** The LedgerClient of a process that hosts the ledger itself. Maps commands to outcomes; adds nothing of its own. */
import { type AccountLedger, type CommandOutcome, grantEventId } from './accounts/account-ledger.js';
import { failedSettlement } from './domain/commands.js';
import { invariant } from './domain/invariant.js';
import {
  ACCOUNT_EVENTS_MAX,
  type AccountBalance,
  type GrantResult,
  type LedgerClient,
  type ReservationStatus,
  type ReserveResult,
} from './ledger-client.js';

export function inProcessLedgerClient(ledger: AccountLedger): LedgerClient {
  return {
    async openAccount({ accountId, opening }) {
      return balanceOf(accountId, await ledger.submit({ type: 'OpenAccount', accountId, opening }));
    },
    async reserve(command) {
      return reserveResultOf(await ledger.submit({ type: 'ReserveCredit', ...command }));
    },
    async grant(command) {
      const grant = { type: 'GrantCredit', ...command } as const;
      const outcome = await ledger.submit(grant);
      if (outcome.refusal !== null) return outcome.refusal as Extract<GrantResult, { status: 'refused' }>;
      return { status: 'granted', availableNanos: outcome.availableNanos, revision: outcome.revision, eventId: grantEventId(grant) };
    },
    async balance(accountId) {
      const outcome = await ledger.read(accountId);
      return outcome.unit === null ? null : balanceOf(accountId, outcome);
    },
    async reservation(accountId, runId) {
      return reservationStatusOf(await ledger.read(accountId, runId));
    },
    async abandonRun({ errorCode, ...run }) {
      await ledger.submit(failedSettlement(run, errorCode));
    },
    accountEvents: ({ accountId, fromRevision, maxCount }) =>
      ledger.events(accountId, fromRevision, Math.min(maxCount, ACCOUNT_EVENTS_MAX)),
  };
}

function balanceOf(accountId: string, outcome: CommandOutcome): AccountBalance {
  const { unit, availableNanos, heldNanos, revision } = outcome;
  invariant(unit !== null, 'an opened account has a unit');
  return { accountId, unit, availableNanos, heldNanos, revision };
}

function reserveResultOf(outcome: CommandOutcome): ReserveResult {
  if (outcome.refusal !== null) return outcome.refusal as Extract<ReserveResult, { status: 'refused' }>;
  invariant(outcome.open !== null, 'an accepted reservation is open');
  return {
    status: 'reserved',
    heldNanos: outcome.open.heldNanos,
    outputTokensBudget: outcome.open.outputTokensBudget,
    availableNanos: outcome.availableNanos,
    revision: outcome.revision,
  };
}

function reservationStatusOf({ open, closed }: CommandOutcome): ReservationStatus {
  if (open !== null) return { status: 'open', deadlineMs: open.deadlineMs };
  if (closed !== null) return { status: 'settled', outcome: closed.outcome, chargedNanos: closed.chargedNanos, usage: closed.usage };
  return { status: 'unknown' };
}
