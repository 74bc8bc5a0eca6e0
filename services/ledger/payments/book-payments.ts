/**
 * Finishes payments that a crash left between "verified" and "booked". Runs at start-up and then regularly; idempotent, so any number of
 * ledgers may do it.
 */
import type { Logger } from 'pino';
import type { Clock } from '../../../platform/clock.js';
import { type Rounds, startRounds } from '../../../platform/rounds.js';
import type { Scheduler } from '../../../platform/scheduler.js';
import type { OutstandingPayments } from './outstanding-payments.js';
import type { PaymentsClient } from './payments-client.js';

const BOOKING_INTERVAL_MS = 2_000;
/** Booking takes milliseconds; who has not done it by then has probably died. */
const BOOKING_PATIENCE_MS = 1_000;
const BOOKINGS_PER_ROUND_MAX = 200;

export type BookingOptions = {
  readonly payments: PaymentsClient;
  readonly outstanding: OutstandingPayments;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly logger: Logger;
};

/** Books what is outstanding now and returns how many payments were. */
export async function bookOutstandingPayments({ payments, outstanding, clock }: BookingOptions): Promise<number> {
  const paymentIds = await outstanding.unbookedBefore(clock.nowMs() - BOOKING_PATIENCE_MS, BOOKINGS_PER_ROUND_MAX);
  let booked = 0;
  for (const paymentId of paymentIds) {
    const outcome = await payments.submitPayment({ type: 'BookPayment', paymentId });
    // A booking made just now has a revision; a row that is merely late has none.
    if (outcome.status === 'done' && outcome.payment.accountRevision >= 0) booked += 1;
  }
  return booked;
}

/** Starts the reactor. */
export function bookPayments(options: BookingOptions): Rounds {
  const { scheduler, logger } = options;
  return startRounds({
    round: async () => {
      const booked = await bookOutstandingPayments(options);
      if (booked > 0) logger.warn({ booked }, 'payments booked that had been left behind');
    },
    pauseMs: BOOKING_INTERVAL_MS,
    scheduler,
    onError: (error) => logger.warn({ err: error }, 'booking payments failed, will be tried again'),
  });
}
