/**
 * Releases holds whose deadline plus grace has passed, so that a crash anywhere heals itself. Runs at start-up and then regularly. Found
 * through a view, decided on the account's stream: a stale row changes nothing.
 */
import type { Logger } from 'pino';
import type { Clock } from '../../../platform/clock.js';
import { type Rounds, startRounds } from '../../../platform/rounds.js';
import type { Scheduler } from '../../../platform/scheduler.js';
import type { AccountLedger } from '../accounts/account-ledger.js';
import { EXPIRY_GRACE_MS, failedSettlement } from '../domain/commands.js';
import type { OpenHolds } from '../holds/open-holds.js';

/** How often due holds are looked for. */
export const EXPIRY_INTERVAL_MS = 2_000;

/** Holds released per round; a larger backlog takes more rounds. */
export const EXPIRY_BATCH_MAX = 500;

export type ExpiryOptions = {
  readonly ledger: AccountLedger;
  readonly holds: OpenHolds;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly logger: Logger;
};

/** Expires what is due now and returns how many holds were released. */
export async function expireDueReservations({ ledger, holds, clock }: ExpiryOptions): Promise<number> {
  const due = await holds.dueBefore(clock.nowMs() - EXPIRY_GRACE_MS, EXPIRY_BATCH_MAX);
  const outcomes = await Promise.all(due.map((hold) => ledger.submit({ type: 'ExpireReservation', ...hold })));
  return outcomes.filter((outcome) => outcome.kind === 'accepted').length;
}

/** Starts the reactor. */
export function expireReservations(options: ExpiryOptions): Rounds {
  const { scheduler, logger } = options;
  return startRounds({
    round: async () => {
      const released = await expireDueReservations(options);
      if (released > 0) logger.warn({ released }, 'expired holds released');
    },
    pauseMs: EXPIRY_INTERVAL_MS,
    scheduler,
    onError: (error) => logger.warn({ err: error }, 'expiring holds failed, will be tried again'),
  });
}

/**
 * Releases holds made before `beforeMs`, whose runs cannot be alive any more: in the embedded deployment the engine ends with the process,
 * so nothing is gained by waiting for their deadlines. `viewCaughtUp` resolves when the view shows all that the store holds; without it a
 * stale view would name the same holds for ever.
 */
export async function releaseInterruptedReservations(
  { ledger, holds }: ExpiryOptions,
  beforeMs: number,
  viewCaughtUp: () => Promise<void>,
): Promise<number> {
  let released = 0;
  for (;;) {
    await viewCaughtUp();
    const interrupted = await holds.reservedBefore(beforeMs, EXPIRY_BATCH_MAX);
    if (interrupted.length === 0) return released;
    const outcomes = await Promise.all(interrupted.map((hold) => ledger.submit(failedSettlement(hold, 'interrupted_by_restart'))));
    released += outcomes.filter((outcome) => outcome.kind === 'accepted').length;
  }
}
