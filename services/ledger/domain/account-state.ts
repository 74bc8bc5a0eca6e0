/**
 * An account as its events tell it: `evolve` folds one event and never refuses. The state is owned by one writer and changed in place,
 * because a busy account holds thousands of reservations and copying them per event would make the cost of a request grow with history.
 */
import type {
  AccountEvent,
  AccountHolder,
  CancelPolicy,
  CreditReserved,
  Environment,
  GrantKind,
  Nanos,
  Posting,
  PriceTerms,
  RunOutcome,
  TokenUsage,
} from '../../../events/contract/index.js';
import { idTimeMs, NO_USAGE } from '../../../events/contract/index.js';
import { invariant, unreachable } from './invariant.js';

/**
 * Settled runs that an account remembers, so that a repeated command is recognised. Older ids are refused by the time inside them, so
 * forgetting is safe. 4,096 are more than a second of the busiest account measured, and keep a snapshot below half a megabyte.
 */
export const CLOSED_RESERVATIONS_MAX = 4_096;

/** Grants that an account remembers, by the same reasoning. */
export const GRANTS_MAX = 4_096;

/** A reservation that has not ended. */
export type OpenReservation = {
  readonly keyId: string;
  readonly model: string;
  readonly heldNanos: Nanos;
  readonly terms: PriceTerms;
  readonly promptTokensMax: number;
  readonly outputTokensBudget: number;
  readonly cancelPolicy: CancelPolicy;
  readonly deadlineMs: number;
  readonly requestHash?: string;
  /** Set between `UsageRecorded` and `ReservationSettled`, which one append writes together. */
  readonly usage: TokenUsage;
};

/** What is remembered of a reservation that has ended. */
export type ClosedReservation = {
  readonly outcome: RunOutcome;
  readonly heldNanos: Nanos;
  readonly chargedNanos: Nanos;
  readonly usage: TokenUsage;
};

export type KnownGrant = { readonly kind: GrantKind; readonly amountNanos: Nanos };

export type AccountState = {
  /** `null` until the account is opened. */
  opened: { readonly holder: AccountHolder; readonly unit: string; readonly environment: Environment } | null;
  availableNanos: Nanos;
  heldNanos: Nanos;
  readonly open: Map<string, OpenReservation>;
  readonly closed: Map<string, ClosedReservation>;
  /** Run ids made at or before this Unix millisecond may have been forgotten; -1 while none is. */
  closedForgottenUntilMs: number;
  readonly grants: Map<string, KnownGrant>;
  grantsForgottenUntilMs: number;
};

export function emptyAccount(): AccountState {
  return {
    opened: null,
    availableNanos: 0n,
    heldNanos: 0n,
    open: new Map(),
    closed: new Map(),
    closedForgottenUntilMs: -1,
    grants: new Map(),
    grantsForgottenUntilMs: -1,
  };
}

/** Folds `event` into `state` and returns the same object. Throws only for a broken invariant. */
export function evolve(state: AccountState, event: AccountEvent): AccountState {
  switch (event.type) {
    case 'AccountOpened':
      invariant(state.opened === null, 'an account is opened once');
      state.opened = { holder: event.holder, unit: event.unit, environment: event.environment };
      return state;
    case 'CreditGranted':
      applyPostings(state, event.postings);
      state.grants.set(event.grantId, { kind: event.kind, amountNanos: event.amountNanos });
      forgetOldestGrant(state);
      return state;
    case 'CreditReserved':
      applyPostings(state, event.postings);
      state.open.set(event.runId, openReservationOf(event));
      return state;
    case 'UsageRecorded': {
      applyPostings(state, event.postings);
      state.open.set(event.runId, { ...openOrThrow(state, event.runId), usage: event.usage });
      return state;
    }
    case 'CreditRefunded':
      applyPostings(state, event.postings);
      return state;
    case 'ReservationSettled': {
      const reservation = openOrThrow(state, event.runId);
      invariant(event.chargedNanos + event.refundedNanos === reservation.heldNanos, 'charged + refunded = held');
      state.open.delete(event.runId);
      state.closed.set(event.runId, {
        outcome: event.outcome,
        heldNanos: reservation.heldNanos,
        chargedNanos: event.chargedNanos,
        usage: reservation.usage,
      });
      forgetOldestClosed(state);
      return state;
    }
    default:
      return unreachable(event);
  }
}

function openReservationOf(event: CreditReserved): OpenReservation {
  return {
    keyId: event.keyId,
    model: event.model,
    heldNanos: event.heldNanos,
    terms: event.terms,
    promptTokensMax: event.promptTokensMax,
    outputTokensBudget: event.outputTokensBudget,
    cancelPolicy: event.cancelPolicy,
    deadlineMs: event.deadlineMs,
    ...(event.requestHash === undefined ? {} : { requestHash: event.requestHash }),
    usage: NO_USAGE,
  };
}

function openOrThrow(state: AccountState, runId: string): OpenReservation {
  const reservation = state.open.get(runId);
  invariant(reservation !== undefined, `run ${runId} has no open reservation`);
  return reservation;
}

function applyPostings(state: AccountState, postings: readonly Posting[]): void {
  for (const { from, to, amountNanos } of postings) {
    invariant(amountNanos > 0n && from !== to, 'a posting moves a positive amount between two accounts');
    if (from === 'available') state.availableNanos -= amountNanos;
    else if (from === 'held') state.heldNanos -= amountNanos;
    if (to === 'available') state.availableNanos += amountNanos;
    else if (to === 'held') state.heldNanos += amountNanos;
  }
  invariant(state.heldNanos >= 0n, 'held is never negative');
}

function forgetOldestClosed(state: AccountState): void {
  if (state.closed.size <= CLOSED_RESERVATIONS_MAX) return;
  const oldest = state.closed.keys().next().value as string;
  state.closed.delete(oldest);
  state.closedForgottenUntilMs = Math.max(state.closedForgottenUntilMs, idTimeMs(oldest) ?? 0);
}

function forgetOldestGrant(state: AccountState): void {
  if (state.grants.size <= GRANTS_MAX) return;
  const oldest = state.grants.keys().next().value as string;
  state.grants.delete(oldest);
  state.grantsForgottenUntilMs = Math.max(state.grantsForgottenUntilMs, idTimeMs(oldest) ?? 0);
}
