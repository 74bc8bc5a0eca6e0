/** The ledger's shell with its reactors and gauges, over whatever store, bus and database it is given. */
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { Gauge, type Registry } from 'prom-client';
import type { MessageBus } from '../../events/bus/message-bus.js';
import type { EventStore } from '../../events/store/event-store.js';
import { systemClock } from '../../platform/clock.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { AccountLedger } from './accounts/account-ledger.js';
import type { OpenHolds } from './holds/open-holds.js';
import { postgresOpenHolds } from './holds/postgres-open-holds.js';
import type { ExpiryOptions } from './reactors/expire-reservations.js';
import { releaseOrphanedReservations } from './reactors/release-orphaned-reservations.js';
import { type Settle, settleFinishedRuns } from './reactors/settle-finished-runs.js';
import { postgresSnapshotStore } from './snapshots/postgres-snapshot-store.js';

export type LedgerParts = {
  readonly store: EventStore;
  readonly bus: MessageBus;
  readonly pool: Pool;
  readonly logger: Logger;
  readonly metrics: Registry;
  /** Takes what is to be released at the end. */
  /** Wraps how finished runs are settled; here, by default. */
  readonly settlingThrough?: (here: Settle) => Settle;
  readonly push: (name: string, release: () => Promise<unknown>) => void;
};

export type StartedLedger = {
  readonly ledger: AccountLedger;
  /** What expiring needs; when it begins is its caller's to say. */
  readonly expiry: ExpiryOptions;
};

export async function startLedger({ store, bus, pool, logger, metrics, push, settlingThrough }: LedgerParts): Promise<StartedLedger> {
  const scheduler = eventLoopScheduler;
  const clock = systemClock;
  const orphans = releaseOrphanedReservations({ ledger: () => ledger, scheduler, logger });
  const ledger: AccountLedger = new AccountLedger({
    store,
    snapshots: postgresSnapshotStore(pool),
    clock,
    scheduler,
    logger,
    onOrphanedReservation: orphans.note,
  });
  const settle: Settle = (command) => ledger.submit(command);
  const settling = await settleFinishedRuns({ bus, settle: settlingThrough?.(settle) ?? settle, logger });
  push('settle-finished-runs', () => settling.stop());
  const holds = postgresOpenHolds(pool);
  registerGauges(metrics, ledger, holds);
  return { ledger, expiry: { ledger, holds, clock, scheduler, logger } };
}

function registerGauges(metrics: Registry, ledger: AccountLedger, holds: OpenHolds): void {
  new Gauge({
    name: 'farebox_ledger_pending_commands',
    help: 'Ledger commands that wait or are being written.',
    registers: [metrics],
    collect() {
      this.set(ledger.pendingCommands);
    },
  });
  new Gauge({
    name: 'farebox_oldest_open_hold_seconds',
    help: 'Age of the oldest hold that has not ended; 0 when there is none.',
    registers: [metrics],
    async collect() {
      const oldestMs = await holds.oldestReservedMs();
      this.set(oldestMs === null ? 0 : (systemClock.nowMs() - oldestMs) / 1_000);
    },
  });
}
