/**
 * The live projection: takes relayed events from the bus and keeps the views. Redelivery-safe: what is in the views already is recognised by
 * the account's revision, in the transaction that writes the rows.
 */

import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { Gauge, type Registry } from 'prom-client';
import type { BusSubscription, MessageBus } from '../../events/bus/message-bus.js';
import { ACCOUNT_EVENTS_TOPIC, BEFORE_EVERYTHING, type Position } from '../../events/contract/index.js';
import { eventOfMessage } from '../../events/relay/relayed-event.js';
import type { Clock } from '../../platform/clock.js';
import { applyLivePage } from './postgres/apply-page.js';
import { readCheckpoint } from './postgres/read-past.js';

export const PROJECTOR_GROUP = 'projector';

/** Events of one transaction. Large enough to share its cost under load, small enough to keep the views fresh. */
export const PROJECTION_BATCH_MAX = 2_000;

export type AppliedRevision = { readonly accountId: string; readonly revision: number };

export type ProjectorOptions = {
  readonly pool: Pool;
  readonly bus: MessageBus;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Registry;
  /** Told what has just become visible, so that a reader in the same process need not poll. */
  readonly onApplied?: (revisions: readonly AppliedRevision[]) => void;
};

export type Projector = {
  /** Position of the last event whose rows are committed. */
  position(): Position;
  stop(): Promise<void>;
};

export async function startProjector(options: ProjectorOptions): Promise<Projector> {
  const { pool, bus, clock, logger, onApplied } = options;
  let position = await readCheckpoint(pool, 'read_model');
  const lag = lagGauge(options.metrics);
  const subscription: BusSubscription = await bus.subscribe({
    topic: ACCOUNT_EVENTS_TOPIC,
    group: PROJECTOR_GROUP,
    batchMax: PROJECTION_BATCH_MAX,
    onMessages: async (messages) => {
      const events = messages.map(eventOfMessage);
      const changes = await applyLivePage(pool, events);
      const last = events.at(-1);
      if (last === undefined) return;
      if (last.position > position) position = last.position;
      lag.set(Math.max(0, clock.nowMs() - last.metadata.occurredAtMs) / 1_000);
      onApplied?.(
        [...changes.accountBalances.values()].map(({ account }) => ({ accountId: account.accountId, revision: account.revision })),
      );
    },
    onError: (error) => logger.error({ err: error }, 'projection failed, will be tried again'),
  });
  return { position: () => position, stop: () => subscription.stop() };
}

/** Position from which the relay must publish so that the views miss nothing. */
export async function projectionCheckpoint(pool: Pool): Promise<Position> {
  return (await readCheckpoint(pool, 'read_model')) || BEFORE_EVERYTHING;
}

function lagGauge(metrics: Registry): Gauge {
  return new Gauge({
    name: 'farebox_projection_lag_seconds',
    help: 'Age of the newest projected event when its rows were committed.',
    registers: [metrics],
  });
}
