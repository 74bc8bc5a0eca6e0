/**
 * The decider: what a command means for an account as it stands. Pure, total and synchronous; time is an argument. A refusal is a value with
 * an exact name; `evolve` (account-state.ts) applies what was accepted.
 */
import {
  type AccountEvent,
  idTimeMs,
  type Nanos,
  NO_USAGE,
  type RunOutcome,
  type TokenUsage,
  type UsageSource,
} from '../../../events/contract/index.js';
import type { AccountOpening, GrantResult, ReserveResult } from '../ledger-client.js';
import type { AccountState, OpenReservation } from './account-state.js';
import {
  type AccountCommand,
  EXPIRY_GRACE_MS,
  type ExpireReservationCommand,
  type GrantCreditCommand,
  type ReserveCreditCommand,
  type SettleReservationCommand,
} from './commands.js';
import { invariant, unreachable } from './invariant.js';
import { chargePostings, grantPostings, refundPostings, reservationPostings } from './postings.js';
import { affordableOutputTokens, chargeFor, holdFor } from './pricing.js';

/** Reservations open at once on one account; beyond it a client is asked to come back. Bounds memory and snapshots. */
export const OPEN_RESERVATIONS_MAX = 10_000;

/** Largest amount of one grant: a million million units, far below what a signed 64-bit count of nanos holds. */
export const GRANT_NANOS_MAX: Nanos = 1_000_000_000n * 1_000_000_000n;

/** The provider named on a top-up that staff booked by hand. */
export const MANUAL_PROVIDER = 'manual';

type ReserveRefusal = Extract<ReserveResult, { status: 'refused' }>;
type GrantRefusal = Extract<GrantResult, { status: 'refused' }>;
export type Refusal = ReserveRefusal | GrantRefusal;

export type Decision =
  | { readonly kind: 'accepted'; readonly events: readonly AccountEvent[] }
  /** The command has already taken effect, or has nothing to act on. */
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'rejected'; readonly refusal: Refusal };

const UNCHANGED: Decision = { kind: 'unchanged' };

export function decide(command: AccountCommand, state: AccountState, nowMs: number): Decision {
  switch (command.type) {
    case 'OpenAccount':
      return state.opened === null ? accepted(openingEvents(command.accountId, command.opening)) : UNCHANGED;
    case 'ReserveCredit':
      return decideReserve(command, state);
    case 'GrantCredit':
      return decideGrant(command, state);
    case 'SettleReservation':
      return decideSettle(command, state, nowMs);
    case 'ExpireReservation':
      return decideExpire(command, state, nowMs);
    default:
      return unreachable(command);
  }
}

function decideReserve(command: ReserveCreditCommand, state: AccountState): Decision {
  const known = state.open.get(command.runId);
  if (known !== undefined) {
    return isSameRequest(command, known) ? UNCHANGED : rejected({ status: 'refused', reason: 'reservation_exists_with_different_request' });
  }
  if (state.closed.has(command.runId)) return rejected({ status: 'refused', reason: 'reservation_already_settled' });
  if ((idTimeMs(command.runId) ?? -1) <= state.closedForgottenUntilMs) {
    return rejected({ status: 'refused', reason: 'reservation_id_too_old' });
  }
  if (state.open.size >= OPEN_RESERVATIONS_MAX) return rejected({ status: 'refused', reason: 'account_at_capacity' });
  const opening = state.opened === null ? openingEvents(command.accountId, command.opening) : [];
  if ((state.opened ?? command.opening).unit !== command.opening.unit) return rejected({ status: 'refused', reason: 'unit_mismatch' });

  const availableNanos = state.opened === null ? command.opening.starterNanos : state.availableNanos;
  const outputTokensBudget = affordableOutputTokens(command.terms, command, command.outputTokensMax, availableNanos);
  const outputTokensNeeded = command.outputTokensExplicit ? command.outputTokensMax : (command.outputTokensMin ?? 1);
  const heldNanos = holdFor(command.terms, command, outputTokensBudget);
  // A budget of nothing is enough where nothing is generated, but its hold has to fit all the same.
  if (outputTokensBudget < outputTokensNeeded || heldNanos > availableNanos) {
    return rejected({
      status: 'refused',
      reason: 'insufficient_credit',
      requiredNanos: holdFor(command.terms, command, outputTokensNeeded),
      availableNanos,
      affordableOutputTokens: outputTokensBudget,
    });
  }
  invariant(heldNanos >= 0n, 'a hold is never negative');
  return accepted([
    ...opening,
    {
      type: 'CreditReserved',
      accountId: command.accountId,
      runId: command.runId,
      holder: (state.opened ?? command.opening).holder,
      keyId: command.keyId,
      model: command.model,
      heldNanos,
      priceVersion: command.priceVersion,
      terms: command.terms,
      promptTokensMax: command.promptTokensMax,
      outputTokensBudget,
      cancelPolicy: command.cancelPolicy,
      deadlineMs: command.deadlineMs,
      ...(command.audio === undefined ? {} : { audio: command.audio }),
      ...(command.requestHash === undefined ? {} : { requestHash: command.requestHash }),
      postings: reservationPostings(heldNanos),
    },
  ]);
}

function isSameRequest(command: ReserveCreditCommand, known: OpenReservation): boolean {
  return (
    known.model === command.model &&
    known.keyId === command.keyId &&
    known.promptTokensMax === command.promptTokensMax &&
    known.outputTokensBudget <= command.outputTokensMax &&
    known.terms.kind === command.terms.kind &&
    known.requestHash === command.requestHash &&
    known.heldNanos === holdFor(command.terms, command, known.outputTokensBudget)
  );
}

function decideGrant(command: GrantCreditCommand, state: AccountState): Decision {
  const known = state.grants.get(command.grantId);
  if (known !== undefined) {
    const isSame = known.amountNanos === command.amountNanos && known.kind === command.kind;
    return isSame ? UNCHANGED : rejected({ status: 'refused', reason: 'grant_exists_with_different_terms' });
  }
  if (state.grantsForgottenUntilMs >= 0 && (idTimeMs(command.grantId) ?? -1) <= state.grantsForgottenUntilMs) {
    return rejected({ status: 'refused', reason: 'grant_id_too_old' });
  }
  if ((state.opened ?? command.opening).unit !== command.opening.unit) return rejected({ status: 'refused', reason: 'unit_mismatch' });
  const isPositive = command.amountNanos > 0n;
  const isClawback = command.kind === 'clawback';
  const isSigned = isPositive ? !isClawback : command.amountNanos < 0n && (isClawback || command.kind === 'adjustment');
  const isInRange = isSigned && command.amountNanos <= GRANT_NANOS_MAX && command.amountNanos >= -GRANT_NANOS_MAX;
  if (!isInRange) return rejected({ status: 'refused', reason: 'amount_out_of_range' });
  const availableNanos = state.opened === null ? command.opening.starterNanos : state.availableNanos;
  // The money is gone already; what it bought may be too.
  if (availableNanos + command.amountNanos < 0n && !isPositive && !isClawback)
    return rejected({ status: 'refused', reason: 'insufficient_credit' } as GrantRefusal);
  return accepted([
    ...(state.opened === null ? openingEvents(command.accountId, command.opening) : []),
    {
      type: 'CreditGranted',
      accountId: command.accountId,
      grantId: command.grantId,
      kind: command.kind,
      amountNanos: command.amountNanos,
      reason: command.reason,
      postings: grantPostings(command.kind, command.amountNanos, command.provider ?? MANUAL_PROVIDER),
    },
  ]);
}

function decideSettle(command: SettleReservationCommand, state: AccountState, nowMs: number): Decision {
  const reservation = state.open.get(command.runId);
  if (reservation === undefined) return UNCHANGED;
  if (command.outcome !== 'failed' && isOverdue(reservation, nowMs)) return expired(command, reservation);
  const chargedNanos = chargeAtEnding(command.outcome, command.usage, reservation);
  return accepted(closingEvents(command, reservation, { ...command, chargedNanos }));
}

/**
 * The one exit's policy: a completed run costs what it used, a cancelled one what it had generated where the preset says so (and nothing
 * before the first token), a failed one nothing. Never more than the hold.
 */
function chargeAtEnding(outcome: RunOutcome, usage: TokenUsage, reservation: OpenReservation): Nanos {
  const isCharged =
    outcome === 'completed' || (outcome === 'cancelled' && reservation.cancelPolicy === 'charge_generated' && usage.completionTokens > 0);
  if (!isCharged) return 0n;
  const chargeNanos = chargeFor(reservation.terms, usage);
  if (chargeNanos > reservation.heldNanos) return reservation.heldNanos;
  return chargeNanos;
}

function decideExpire(command: ExpireReservationCommand, state: AccountState, nowMs: number): Decision {
  const reservation = state.open.get(command.runId);
  return reservation === undefined || !isOverdue(reservation, nowMs) ? UNCHANGED : expired(command, reservation);
}

function isOverdue(reservation: OpenReservation, nowMs: number): boolean {
  return nowMs >= reservation.deadlineMs + EXPIRY_GRACE_MS;
}

function expired(run: { readonly accountId: string; readonly runId: string }, reservation: OpenReservation): Decision {
  return accepted(
    closingEvents(run, reservation, {
      outcome: 'expired',
      finishReason: null,
      usage: NO_USAGE,
      errorCode: 'deadline_exceeded',
      attempt: 0,
      chargedNanos: 0n,
    }),
  );
}

type Ending = {
  readonly outcome: RunOutcome;
  readonly finishReason: SettleReservationCommand['finishReason'];
  readonly usage: TokenUsage;
  readonly usageSource?: UsageSource;
  readonly errorCode: string | null;
  readonly attempt: number;
  readonly responseHash?: string;
  readonly systemFingerprint?: string;
  readonly chargedNanos: Nanos;
};

function closingEvents(
  run: { readonly accountId: string; readonly runId: string },
  reservation: OpenReservation,
  ending: Ending,
): AccountEvent[] {
  const { accountId, runId } = run;
  const { chargedNanos } = ending;
  const refundedNanos = reservation.heldNanos - chargedNanos;
  invariant(chargedNanos >= 0n && refundedNanos >= 0n, 'charged + refunded = held');
  return [
    {
      type: 'UsageRecorded',
      accountId,
      runId,
      usage: ending.usage,
      ...(ending.usageSource === undefined ? {} : { usageSource: ending.usageSource }),
      chargedNanos,
      postings: chargePostings(chargedNanos),
    },
    { type: 'CreditRefunded', accountId, runId, refundedNanos, postings: refundPostings(refundedNanos) },
    {
      type: 'ReservationSettled',
      accountId,
      runId,
      outcome: ending.outcome,
      finishReason: ending.finishReason,
      errorCode: ending.errorCode,
      chargedNanos,
      refundedNanos,
      attempt: ending.attempt,
      ...(ending.responseHash === undefined ? {} : { responseHash: ending.responseHash }),
      ...(ending.systemFingerprint === undefined ? {} : { systemFingerprint: ending.systemFingerprint }),
    },
  ];
}

function openingEvents(accountId: string, opening: AccountOpening): AccountEvent[] {
  const { holder, unit, environment, starterNanos } = opening;
  const events: AccountEvent[] = [{ type: 'AccountOpened', accountId, holder, unit, environment }];
  if (starterNanos > 0n) {
    events.push({
      type: 'CreditGranted',
      accountId,
      grantId: starterGrantId(accountId),
      kind: 'starter',
      amountNanos: starterNanos,
      reason: 'starter credit',
      postings: grantPostings('starter', starterNanos, MANUAL_PROVIDER),
    });
  }
  return events;
}

/** One starter grant per account, by its name. */
export function starterGrantId(accountId: string): string {
  return `starter-${accountId}`;
}

function accepted(events: readonly AccountEvent[]): Decision {
  return { kind: 'accepted', events };
}

function rejected(refusal: Refusal): Decision {
  return { kind: 'rejected', refusal };
}
