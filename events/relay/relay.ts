/**
 * Publishes what the store holds, in its order, at least once. Nobody writes the store and the bus both: this is the only way from one to
 * the other, so they cannot disagree for longer than the relay lags.
 */

import type { Scheduler } from '../../platform/scheduler.js';
import type { MessageBus } from '../bus/message-bus.js';
import { ACCOUNT_EVENTS_TOPIC, type Position, type RecordedEvent } from '../contract/index.js';
import type { EventStore, Subscription } from '../store/event-store.js';
import { messageOfEvent } from './relayed-event.js';

/**
 * Remembers how far the relay has come. On a bus that forgets at a restart, `load` returns what the subscribers themselves have durably
 * taken, and `save` does nothing.
 */
export interface CheckpointStore {
  load(): Promise<Position>;
  save(position: Position): Promise<void>;
}

/** Events published at once. */
export const RELAY_BATCH_MAX = 1_000;

/**
 * Pause after a batch that was not full. Every reading of the log and every projected page costs the same dozen of round trips whatever its
 * size; a pause that no reader notices lets them share it under load.
 */
export const RELAY_LINGER_MS = 20;

export type RelayOptions = {
  readonly store: EventStore;
  readonly bus: MessageBus;
  readonly checkpoints: CheckpointStore;
  /** Times the pause after a batch that was not full; without one there is none. */
  readonly scheduler?: Scheduler;
  readonly onError: (error: unknown) => void;
};

export type Relay = {
  /** Position of the last event that was published and checkpointed. */
  position(): Position;
  stop(): Promise<void>;
};

/** Starts relaying from the checkpoint. A publication or checkpoint that fails is tried again; nothing is skipped. */
export async function startRelay({ store, bus, checkpoints, scheduler, onError }: RelayOptions): Promise<Relay> {
  let position = await checkpoints.load();
  const publish = async (events: readonly RecordedEvent[]) => {
    const messages = events.map(messageOfEvent).filter((message) => message !== null);
    if (messages.length > 0) await bus.publish(ACCOUNT_EVENTS_TOPIC, messages);
    const last = events.at(-1);
    if (last === undefined) return;
    await checkpoints.save(last.position);
    position = last.position;
    if (scheduler !== undefined && events.length < RELAY_BATCH_MAX)
      await new Promise<void>((resume) => scheduler.delay(resume, RELAY_LINGER_MS));
  };
  const subscription: Subscription = store.subscribe({ after: position, batchMax: RELAY_BATCH_MAX, onEvents: publish, onError });
  return { position: () => position, stop: () => subscription.stop() };
}
