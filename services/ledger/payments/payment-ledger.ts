/**
 * The shell of payments: decides on the payment's stream, makes it durable, and books what follows on the account.
 *
 *     submit ──▶ read the stream ──▶ decide ──▶ append at the expected revision ──▶ book each amount ──▶ PaymentBooked
 *                     ▲                            │ conflict, or found written already: read and decide again
 *                     └────────────────────────────┘
 *
 * The grant id of an amount is frozen in the event that decided it, and an account grants an id once: whoever books it after a crash, and how
 * many do so at once, makes no difference. `bookOutstandingPayments` (book-payments.ts) finishes what a crash left between the two appends.
 */
import type { Logger } from 'pino';
import { decodePaymentEvent, type PaymentEvent, paymentStream, toNewPaymentEvent } from '../../../events/contract/index.js';
import { type AppendResult, type EventStore, READ_EVENTS_MAX } from '../../../events/store/event-store.js';
import type { Clock } from '../../../platform/clock.js';
import { type GrantCredit, type LedgerClient, LedgerUnavailableError } from '../ledger-client.js';
import { decidePayment } from './decide-payment.js';
import { type Booking, emptyPayment, evolvePayment, type PaymentState, paymentOf } from './payment-state.js';
import type { Payment, PaymentCommand, PaymentOutcome, PaymentsClient } from './payments-client.js';

/** Others write to the same payment at the same time (webhook, return, reconciliation): a handful, so a few tries are enough. */
const DECIDE_ATTEMPTS_MAX = 10;
/** Tries of one append whose answer was lost, with the same ids. */
const APPEND_ATTEMPTS_MAX = 3;

export type PaymentLedgerOptions = {
  readonly store: EventStore;
  readonly ledger: Pick<LedgerClient, 'grant'>;
  readonly clock: Clock;
  readonly logger: Logger;
};

type Told = { readonly state: PaymentState; readonly refusal: Extract<PaymentOutcome, { status: 'refused' }> | null };

export function paymentLedger(options: PaymentLedgerOptions): PaymentsClient {
  const { logger } = options;
  return {
    async submitPayment(command) {
      const { state, refusal } = await decideAndAppend(options, command);
      if (refusal !== null) return refusal;
      try {
        return { status: 'done', payment: await bookOutstanding(options, state, command.paymentId) };
      } catch (error) {
        // Booking is asked for by name only to learn that it is done; everybody else leaves it to the reactor.
        if (command.type === 'BookPayment' || !(error instanceof LedgerUnavailableError)) throw error;
        logger.warn({ err: error, paymentId: command.paymentId }, 'payment decided but not booked yet, will be');
        return { status: 'done', payment: existing(state) };
      }
    },
    async payment(paymentId) {
      return paymentOf(await loadPayment(options.store, paymentId));
    },
  };
}

async function decideAndAppend(options: PaymentLedgerOptions, command: PaymentCommand): Promise<Told> {
  for (let attempt = 1; attempt <= DECIDE_ATTEMPTS_MAX; attempt += 1) {
    const state = await loadPayment(options.store, command.paymentId);
    const nowMs = options.clock.nowMs();
    const decision = decidePayment(command, state, nowMs);
    if (decision.kind === 'rejected') return { state, refusal: { status: 'refused', reason: decision.reason } };
    if (decision.kind === 'unchanged') return { state, refusal: null };
    if (await append(options, state, command.paymentId, decision.events, nowMs)) return { state, refusal: null };
  }
  throw new LedgerUnavailableError('the payment is being written by others; try again');
}

async function loadPayment(store: EventStore, paymentId: string): Promise<PaymentState> {
  const state = emptyPayment();
  try {
    const events = await store.readStream(paymentStream(paymentId), { maxCount: READ_EVENTS_MAX });
    for (const event of events) evolvePayment(state, decodePaymentEvent(event), event.metadata.occurredAtMs);
    return state;
  } catch (error) {
    if (error instanceof RangeError) throw error;
    throw new LedgerUnavailableError('the payment could not be read', { cause: error });
  }
}

/**
 * Appends and folds. `false`: somebody else wrote, or these ids were there already. Ids name the place in the stream, so two writers who decide
 * differently at one place share them: what is found written is read again, never taken for one's own.
 */
async function append(
  options: PaymentLedgerOptions,
  state: PaymentState,
  paymentId: string,
  events: readonly PaymentEvent[],
  nowMs: number,
): Promise<boolean> {
  const expectedRevision = state.revision;
  const newEvents = events.map((event, index) =>
    toNewPaymentEvent(event, { commandId: `payment/${paymentId}/${expectedRevision + 1 + index}`, nowMs }),
  );
  const result = await appendWithRetries(options, { stream: paymentStream(paymentId), expectedRevision, events: newEvents });
  if (result.status === 'conflict' || result.replayed) return false;
  for (const event of events) evolvePayment(state, event, nowMs);
  return true;
}

async function appendWithRetries(
  { store, logger }: PaymentLedgerOptions,
  streamAppend: Parameters<EventStore['append']>[0][number],
): Promise<AppendResult> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const [result] = await store.append([streamAppend]);
      if (result === undefined) throw new Error('the store answered nothing');
      return result;
    } catch (error) {
      if (error instanceof RangeError) throw error;
      if (attempt === APPEND_ATTEMPTS_MAX) throw new LedgerUnavailableError('the payment could not be written', { cause: error });
      logger.warn({ err: error, attempt }, 'append to a payment failed, trying again');
    }
  }
}

/** Books amounts in the order in which they were decided, so that nothing is taken back before it was given. */
async function bookOutstanding(options: PaymentLedgerOptions, loaded: PaymentState, paymentId: string): Promise<Payment> {
  let state = loaded;
  let accountRevision = -1;
  for (let attempt = 1; attempt <= DECIDE_ATTEMPTS_MAX; attempt += 1) {
    const booking = state.bookings.find(({ isBooked }) => !isBooked);
    if (booking === undefined) return existing(state, accountRevision);
    const grant = grantOf(state, booking);
    const result = await options.ledger.grant(grant);
    if (result.status === 'refused') {
      options.logger.error({ paymentId, grantId: booking.grantId, reason: result.reason }, 'a payment could not be booked on its account');
      return existing(state, accountRevision);
    }
    accountRevision = result.revision;
    const { grantId, creditNanos } = booking;
    const event: PaymentEvent = { type: 'PaymentBooked', paymentId, grantId, eventId: result.eventId, creditNanos };
    const isMine = await append(options, state, paymentId, [event], options.clock.nowMs());
    if (!isMine) state = await loadPayment(options.store, paymentId);
    else attempt = 0;
  }
  throw new LedgerUnavailableError('the payment is being booked by others; try again');
}

function grantOf(state: PaymentState, { grantId, creditNanos, reason }: Booking): GrantCredit {
  const { opened } = state;
  if (opened === null) throw new Error('a payment with bookings was opened');
  return {
    accountId: opened.accountId,
    grantId,
    opening: { holder: opened.holder, unit: opened.unit, environment: opened.environment, starterNanos: opened.starterNanos },
    kind: creditNanos > 0n ? 'top_up' : 'clawback',
    amountNanos: creditNanos,
    reason: `${reason}: ${opened.reference}`,
    provider: opened.provider,
  };
}

function existing(state: PaymentState, accountRevision = -1): Payment {
  const payment = paymentOf(state, accountRevision);
  if (payment === null) throw new Error('the payment exists');
  return payment;
}
