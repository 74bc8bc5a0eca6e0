/** Reconciles every few minutes, in one of the processes at a time: an advisory lock says which. */
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { Clock } from '../../../platform/clock.js';
import { type Rounds, startRounds } from '../../../platform/rounds.js';
import type { Scheduler } from '../../../platform/scheduler.js';
import { needsAttention, type ReconcileDeps, reconcilePayments } from './reconcile-payments.js';

export const RECONCILIATION_INTERVAL_MS = 5 * 60 * 1_000;
/** Providers repeat a webhook for three days; what was paid earlier and never told is for `farebox payments reconcile`. */
const LOOK_BACK_MS = 3 * 24 * 60 * 60 * 1_000;
/** An arbitrary constant. */
const RECONCILIATION_LOCK = 7_120_431;

export type RegularReconciliationOptions = ReconcileDeps & {
  readonly pool: Pool;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly logger: Logger;
  /** `RECONCILIATION_INTERVAL_MS` except in tests. */
  readonly intervalMs?: number;
};

/** Begins at once. */
export function reconcileRegularly(options: RegularReconciliationOptions): Rounds {
  const { logger, scheduler } = options;
  return startRounds({
    round: () => reconcileUnderLock(options),
    pauseMs: options.intervalMs ?? RECONCILIATION_INTERVAL_MS,
    scheduler,
    onError: (error) => logger.warn({ err: error }, 'payments could not be reconciled, will be tried again'),
  });
}

async function reconcileUnderLock(options: RegularReconciliationOptions): Promise<void> {
  const { pool, clock, logger } = options;
  const client = await pool.connect();
  let failure: Error | undefined;
  try {
    const { rows } = await client.query<{ isFree: boolean }>('select pg_try_advisory_lock($1) as "isFree"', [RECONCILIATION_LOCK]);
    if (rows[0]?.isFree !== true) return;
    const toMs = clock.nowMs();
    const { findings } = await reconcilePayments(options, { fromMs: toMs - LOOK_BACK_MS, toMs });
    for (const finding of findings) {
      if (needsAttention(finding)) logger.error({ finding }, 'a payment needs attention');
      else logger.warn({ finding }, 'a payment was put right');
    }
  } catch (error) {
    failure = error as Error;
    throw error;
  } finally {
    // Closing the connection gives the lock back.
    client.release(failure ?? true);
  }
}
