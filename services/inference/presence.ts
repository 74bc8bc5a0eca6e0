/** A worker's signs of life: what it serves and how full it is, every second, and a last one when it leaves. */
import type { MessageBus } from '../../events/bus/message-bus.js';
import { type JsonObject, WORKER_SEEN_EVERY_MS, WORKERS_TOPIC, type WorkerSeen } from '../../events/contract/index.js';
import type { Scheduler } from '../../platform/scheduler.js';

export type PresenceOptions = {
  readonly bus: MessageBus;
  readonly scheduler: Scheduler;
  /** Asked each time. */
  readonly describe: () => WorkerSeen;
  readonly onError: (error: unknown) => void;
};

export type Presence = {
  /** From now on the worker is said to be leaving; resolves when the others have been told, or cannot be. */
  leave(): Promise<void>;
  stop(): void;
};

export function announcePresence({ bus, scheduler, describe, onError }: PresenceOptions): Presence {
  let isLeaving = false;
  let isStopped = false;
  let cancel = () => {};
  const tell = async () => {
    const seen: WorkerSeen = isLeaving ? { ...describe(), status: 'leaving' } : describe();
    try {
      await bus.publish(WORKERS_TOPIC, [{ key: seen.workerId, type: 'WorkerSeen', headers: {}, value: seen as JsonObject }]);
    } catch (error) {
      onError(error);
    }
  };
  const tellAndRepeat = () => {
    void tell();
    if (!isStopped) cancel = scheduler.delay(tellAndRepeat, WORKER_SEEN_EVERY_MS);
  };
  tellAndRepeat();
  return {
    leave() {
      isLeaving = true;
      return tell();
    },
    stop() {
      isStopped = true;
      cancel();
    },
  };
}
