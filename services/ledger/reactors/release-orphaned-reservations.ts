/**
 * Releases holds whose caller had given up before they became durable (the store was slow or its answer was lost). The caller told its
 * client "not available"; without this the hold would last until it expires.
 */
import type { Logger } from 'pino';
import type { Scheduler } from '../../../platform/scheduler.js';
import type { AccountLedger } from '../accounts/account-ledger.js';
import { failedSettlement } from '../domain/commands.js';

/** Orphans remembered; beyond it the oldest is left to its expiry. */
export const ORPHANS_MAX = 10_000;

/** Pause between tries while the store is away. */
export const ORPHAN_RETRY_MS = 1_000;

export type OrphanReleaser = {
  /** Hand this to `AccountLedger` as `onOrphanedReservation`. */
  readonly note: (accountId: string, runId: string) => void;
  /** Orphans not released yet. */
  readonly waiting: () => number;
};

/** `ledger` is asked for only when needed, because the ledger itself is built with `note`. */
export function releaseOrphanedReservations(options: {
  readonly ledger: () => AccountLedger;
  readonly scheduler: Scheduler;
  readonly logger: Logger;
}): OrphanReleaser {
  const orphans = new Map<string, string>();
  let isScheduled = false;
  const schedule = () => {
    if (isScheduled || orphans.size === 0) return;
    isScheduled = true;
    options.scheduler.delay(() => {
      isScheduled = false;
      void releaseAll().finally(schedule);
    }, ORPHAN_RETRY_MS);
  };
  const releaseAll = async () => {
    for (const [runId, accountId] of [...orphans]) {
      try {
        await options.ledger().submit(failedSettlement({ accountId, runId }, 'run_abandoned'));
        orphans.delete(runId);
      } catch (error) {
        options.logger.warn({ err: error, runId }, 'orphaned hold not released yet');
        return;
      }
    }
  };
  return {
    note(accountId, runId) {
      orphans.set(runId, accountId);
      const oldest = orphans.keys().next().value;
      if (orphans.size > ORPHANS_MAX && oldest !== undefined) orphans.delete(oldest);
      schedule();
    },
    waiting: () => orphans.size,
  };
}
