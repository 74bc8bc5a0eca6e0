/**
 * The live projection: takes relayed events from the bus and keeps the views. Redelivery-safe: what is in the views already is recognised by
 * the account's revision, in the transaction that writes the rows.
 *
 * A page that fails is delivered again by the bus until it succeeds; nothing is passed over. An event that contradicts the books or leaves
 * a gap fails every time: the views then stand still, loudly (`failure`, the lag gauges, an error in the log each second), and go on by
 * themselves when a rebuild has replaced them.
 */
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { Message, MessageBus } from '../../events/bus/message-bus.js';
import { ACCOUNT_EVENTS_TOPIC, type Position, type RecordedEvent } from '../../events/contract/index.js';
import { eventOfMessage } from '../../events/relay/relayed-event.js';
import type { Clock } from '../../platform/clock.js';
import { eventLoopScheduler, type Scheduler } from '../../platform/scheduler.js';
import type { ReadModelChanges } from './domain/read-model-changes.js';
import { createPagePacing } from './page-pacing.js';
import { applyLivePage } from './postgres/apply-page.js';
import { readCheckpoint } from './postgres/read-past.js';
import { createProjectionMetrics } from './projection-metrics.js';

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
  /** Messages that wait for the projector on the bus, where the bus can say; counted into the lag. */
  readonly waitingEvents?: () => number;
  /** The event loop by default. */
  readonly scheduler?: Scheduler;
};

export type Projector = {
  /** Position of the last event whose rows are committed. */
  position(): Position;
  /** Why the views stand still; `null` while they do not. */
  failure(): Error | null;
  /** Resolves when no page is being written any more. */
  stop(): Promise<void>;
};

/** Rejects when the checkpoint cannot be read. */
export async function startProjector(options: ProjectorOptions): Promise<Projector> {
  const { pool, bus, clock, logger, onApplied } = options;
  let position = await readCheckpoint(pool, 'read_model');
  let failure: Error | null = null;
  const metrics = createProjectionMetrics(options.metrics, { nowMs: clock.nowMs, waitingEvents: options.waitingEvents ?? (() => 0) });
  const pacing = createPagePacing({ scheduler: options.scheduler ?? eventLoopScheduler, monotonicNowMs: () => performance.now() });

  const tellApplied = (changes: ReadModelChanges) => {
    if (onApplied === undefined) return;
    const revisions = [...changes.accountBalances.values()].map(({ account }) => ({
      accountId: account.accountId,
      revision: account.revision,
    }));
    try {
      onApplied(revisions);
    } catch (error) {
      logger.error({ err: error }, 'a listener to applied revisions failed');
    }
  };

  const applyMessages = async (messages: readonly Message[]) => {
    const events = messages.map(eventOfMessage);
    pacing.begin();
    metrics.began(events);
    const changes = await applyLivePage(pool, events);
    failure = null;
    position = newest(position, events);
    metrics.applied(changes.events, position);
    tellApplied(changes);
    await pacing.pause();
  };

  const subscription = await bus.subscribe({
    topic: ACCOUNT_EVENTS_TOPIC,
    group: PROJECTOR_GROUP,
    batchMax: PROJECTION_BATCH_MAX,
    onMessages: applyMessages,
    onError: (error) => {
      failure = error instanceof Error ? error : new Error(String(error));
      logger.error({ err: error, position }, 'projection failed, will be tried again');
    },
  });
  return {
    position: () => position,
    failure: () => failure,
    async stop() {
      pacing.end();
      await subscription.stop();
    },
  };
}

/** Position after which the relay must publish so that the views miss nothing, on a bus that forgets at a restart. */
export function projectionCheckpoint(pool: Pool): Promise<Position> {
  return readCheckpoint(pool, 'read_model');
}

function newest(position: Position, events: readonly RecordedEvent[]): Position {
  let last = position;
  for (const event of events) if (event.position > last) last = event.position;
  return last;
}
