/** A payment as its events tell it: `evolvePayment` folds one event and never refuses. */
import type { CheckoutOpened, Nanos, PaymentEvent, PaymentMismatched } from '../../../events/contract/index.js';
import { invariant, unreachable } from '../domain/invariant.js';
import type { Payment, PaymentStatus } from './payments-client.js';

/** An amount that follows for the account, under its grant id. */
export type Booking = { readonly grantId: string; readonly creditNanos: Nanos; readonly reason: string; isBooked: boolean };

export type KnownReversal = {
  readonly kind: 'refund' | 'dispute';
  readonly amountMinor: bigint;
  status: 'active' | 'lifted' | 'final';
};

export type PaymentState = {
  opened: CheckoutOpened | null;
  openedAtMs: number;
  offer: { readonly providerReference: string; readonly authorizationUrl: string; readonly expiresAtMs: number } | null;
  verifiedAtMs: number | null;
  /** What came and was not what was asked for, latest. */
  mismatched: PaymentMismatched | null;
  ended: { readonly outcome: 'failed' | 'abandoned'; readonly reason: string } | null;
  /** In the order in which they were decided. */
  readonly bookings: Booking[];
  readonly reversals: Map<string, KnownReversal>;
  revision: number;
};

export function emptyPayment(): PaymentState {
  return {
    opened: null,
    openedAtMs: 0,
    offer: null,
    verifiedAtMs: null,
    mismatched: null,
    ended: null,
    bookings: [],
    reversals: new Map(),
    revision: -1,
  };
}

/** Folds `event` into `state`. Throws only for a broken invariant. */
export function evolvePayment(state: PaymentState, event: PaymentEvent, occurredAtMs: number): void {
  state.revision += 1;
  invariant((state.opened === null) === (event.type === 'CheckoutOpened'), 'a payment is opened once, first');
  switch (event.type) {
    case 'CheckoutOpened':
      state.opened = event;
      state.openedAtMs = occurredAtMs;
      return;
    case 'CheckoutOffered':
      state.offer = event;
      return;
    case 'PaymentVerified':
      invariant(state.verifiedAtMs === null, 'a payment is verified once');
      state.verifiedAtMs = occurredAtMs;
      addBooking(state, event.grantId, event.creditNanos, 'payment received');
      return;
    case 'PaymentMismatched':
      state.mismatched = event;
      return;
    case 'PaymentFailed':
      state.ended = { outcome: 'failed', reason: event.reason };
      return;
    case 'PaymentAbandoned':
      state.ended = { outcome: 'abandoned', reason: 'abandoned' };
      return;
    case 'PaymentRefunded':
      reverse(state, event, { kind: 'refund', status: 'active' }, 'payment refunded');
      return;
    case 'RefundFailed':
      reverse(state, event, { kind: 'refund', status: 'lifted' }, 'refund failed');
      return;
    case 'DisputeOpened':
      reverse(state, event, { kind: 'dispute', status: 'active' }, 'payment disputed');
      return;
    case 'DisputeWon':
      reverse(state, event, { kind: 'dispute', status: 'lifted' }, 'dispute won');
      return;
    case 'DisputeLost': {
      const known = state.reversals.get(event.reversalId);
      if (known !== undefined) known.status = 'final';
      return;
    }
    case 'PaymentBooked': {
      const booking = state.bookings.find(({ grantId }) => grantId === event.grantId);
      invariant(booking !== undefined && booking.creditNanos === event.creditNanos, 'what is booked was decided');
      booking.isBooked = true;
      return;
    }
    default:
      unreachable(event);
  }
}

function reverse(
  state: PaymentState,
  event: { readonly reversalId: string; readonly amountMinor: bigint; readonly creditNanos: Nanos; readonly grantId: string | null },
  reversal: Pick<KnownReversal, 'kind' | 'status'>,
  reason: string,
): void {
  state.reversals.set(event.reversalId, { ...reversal, amountMinor: event.amountMinor });
  if (event.grantId !== null) addBooking(state, event.grantId, event.creditNanos, reason);
}

function addBooking(state: PaymentState, grantId: string, creditNanos: Nanos, reason: string): void {
  invariant(creditNanos !== 0n && state.bookings.every((known) => known.grantId !== grantId), 'a booking moves something, under a new id');
  state.bookings.push({ grantId, creditNanos, reason, isBooked: false });
}

/** Minor units that are not ours any more, or held back; never more than was paid. */
export function reversedMinorOf(state: PaymentState): bigint {
  const amountMinor = state.opened?.amountMinor ?? 0n;
  let reversed = 0n;
  for (const reversal of state.reversals.values()) if (reversal.status !== 'lifted') reversed += reversal.amountMinor;
  return reversed > amountMinor ? amountMinor : reversed;
}

/** The sum of all that was decided to be taken back, less what was given back again. Not negative. */
export function clawedBackNanosOf(state: PaymentState): Nanos {
  return state.bookings.slice(1).reduce((sum, { creditNanos }) => sum - creditNanos, 0n);
}

export function paymentOf(state: PaymentState, accountRevision = -1): Payment | null {
  const { opened, offer } = state;
  if (opened === null) return null;
  const { type: _type, starterNanos: _starter, ...terms } = opened;
  const booked = state.bookings.filter(({ isBooked }) => isBooked);
  return {
    ...terms,
    status: statusOf(state),
    providerReference: offer?.providerReference ?? null,
    authorizationUrl: offer?.authorizationUrl ?? null,
    openedAtMs: state.openedAtMs,
    expiresAtMs: offer?.expiresAtMs ?? null,
    verifiedAtMs: state.verifiedAtMs,
    mismatch: state.mismatched?.mismatch ?? null,
    failure: state.ended?.reason ?? null,
    reversedMinor: reversedMinorOf(state),
    creditedNanos: state.bookings[0]?.isBooked === true ? state.bookings[0].creditNanos : 0n,
    clawedBackNanos: booked.filter((booking) => booking !== state.bookings[0]).reduce((sum, { creditNanos }) => sum - creditNanos, 0n),
    unbooked: state.bookings.length - booked.length,
    revision: state.revision,
    accountRevision,
  };
}

function statusOf(state: PaymentState): PaymentStatus {
  if (state.verifiedAtMs === null) {
    if (state.mismatched !== null) return 'mismatched';
    if (state.ended !== null) return state.ended.outcome;
    return state.offer === null ? 'opening' : 'pending';
  }
  if (state.bookings.some(({ isBooked }) => !isBooked)) return 'paid';
  if ([...state.reversals.values()].some(({ kind, status }) => kind === 'dispute' && status === 'active')) return 'disputed';
  const reversedMinor = reversedMinorOf(state);
  if (reversedMinor === 0n) return 'credited';
  return reversedMinor === state.opened?.amountMinor ? 'refunded' : 'partially_refunded';
}
