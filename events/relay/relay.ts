/**
 * Publishes what the store holds, in its order, at least once. Nobody writes the store and the bus both: this is the only way from one to
 * the other, so they cannot disagree for longer than the relay lags.
 *
 * One relay is active at a time, which its composition root ensures (a lock, or being the only process). Two would publish everything
 * twice and out of step; readers would stay correct, since they deduplicate by revision.
 */
import { BusFullError, type MessageBus } from '../bus/message-bus.js';
import { ACCOUNT_EVENTS_TOPIC, type Position, type RecordedEvent } from '../contract/index.js';
import type { EventStore } from '../store/event-store.js';
import { messageOfEvent } from './relayed-event.js';

/**
 * Remembers how far the relay has come. On a bus that forgets at a restart, `load` returns what the subscribers themselves have durably
 * taken, and `save` does nothing: a checkpoint of the relay's own would be ahead of messages that died with the process.
 */
export interface CheckpointStore {
  load(): Promise<Position>;
  save(position: Position): Promise<void>;
}

/** Events published at once. */
export const RELAY_BATCH_MAX = 1_000;

/**
 * The relay reads the log at most this often when there is little to relay: an append each would otherwise cost a read each, and one more to
 * see that nothing is left; 950 reads a second at 500 requests.
 */
export const RELAY_REST_MS = 10;

/** A full bus is asked again after this long. Short, because its readers empty thousands of messages in the meantime. */
export const FULL_BUS_RETRY_MS = 20;

export type RelayOptions = {
  readonly store: EventStore;
  readonly bus: MessageBus;
  readonly checkpoints: CheckpointStore;
  readonly onError: (error: unknown) => void;
  /** With it, the relay waits quietly while the bus is full; without, a full bus is a failure like any other, tried again by the store's backoff. */
  readonly scheduler?: { delay(work: () => void, delayMs: number): () => void };
};

export type Relay = {
  /** Position of the last event that was published and checkpointed. */
  position(): Position;
  /** Resolves when nothing is being published any more. */
  stop(): Promise<void>;
};

/**
 * Starts relaying after the checkpoint. A publication or checkpoint that fails is tried again, with the subscription's backoff; nothing is
 * ever skipped. Rejects when the checkpoint cannot be read.
 */
export async function startRelay({ store, bus, checkpoints, onError, scheduler }: RelayOptions): Promise<Relay> {
  let position = await checkpoints.load();
  let isStopped = false;
  let endPause: () => void = () => {};

  const pause = (on: NonNullable<RelayOptions['scheduler']>) =>
    new Promise<void>((resume) => {
      const cancel = on.delay(resume, FULL_BUS_RETRY_MS);
      endPause = () => {
        cancel();
        resume();
      };
    });

  const publish = async (events: readonly RecordedEvent[]) => {
    const messages = events.map(messageOfEvent).filter((message) => message !== null);
    while (messages.length > 0) {
      try {
        await bus.publish(ACCOUNT_EVENTS_TOPIC, messages);
        break;
      } catch (error) {
        if (!(error instanceof BusFullError) || scheduler === undefined || isStopped) throw error;
        await pause(scheduler);
      }
    }
    const last = events.at(-1);
    if (last === undefined) return;
    await checkpoints.save(last.position);
    position = last.position;
  };

  const subscription = store.subscribe({ after: position, batchMax: RELAY_BATCH_MAX, restMs: RELAY_REST_MS, onEvents: publish, onError });
  return {
    position: () => position,
    stop() {
      isStopped = true;
      endPause();
      return subscription.stop();
    },
  };
}
