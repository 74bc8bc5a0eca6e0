/**
 * Failpoints for crash tests: the process kills itself (SIGKILL, or SIGSTOP by `FAREBOX_FAILPOINT_SIGNAL`) right before or after a named piece
 * of I/O. Composition roots wrap their ports with them, so that no service knows of them; without `FAREBOX_FAILPOINT` nothing is wrapped.
 *
 * `FAREBOX_FAILPOINT=store.append.CreditReserved.after` dies when the first such append is durable and nobody has been told;
 * `…@3` at the third. Points: `store.append.<EventType>`, `bus.publish.<MessageType>`, `projector.page`; each `.before` or `.after`.
 */
import type { MessageBus } from './bus/message-bus.js';
import type { EventStore } from './store/event-store.js';

export type Failpoints = {
  wrapStore(store: EventStore): EventStore;
  wrapBus(bus: MessageBus): MessageBus;
  /** Call with a point's name when it is passed. */
  pass(point: string): void;
};

/** `null` when no failpoint is asked for. */
export function failpointsFrom(environment: Readonly<Record<string, string | undefined>>): Failpoints | null {
  const wanted = environment['FAREBOX_FAILPOINT'];
  if (wanted === undefined || wanted === '') return null;
  const [point = '', count = '1'] = wanted.split('@');
  const signal = environment['FAREBOX_FAILPOINT_SIGNAL'] === 'SIGSTOP' ? 'SIGSTOP' : 'SIGKILL';
  let passesLeft = Number(count);
  const pass = (name: string) => {
    if (name !== point) return;
    passesLeft -= 1;
    if (passesLeft === 0) process.kill(process.pid, signal);
  };
  return { pass, wrapStore: (store) => wrapStore(store, pass), wrapBus: (bus) => wrapBus(bus, pass) };
}

function wrapStore(store: EventStore, pass: (point: string) => void): EventStore {
  return {
    append: async (appends) => {
      const types = appends.flatMap((append) => append.events.map((event) => event.type));
      for (const type of types) pass(`store.append.${type}.before`);
      const results = await store.append(appends);
      for (const type of types) pass(`store.append.${type}.after`);
      return results;
    },
    readStream: (stream, options) => store.readStream(stream, options),
    readAll: (after, maxCount) => store.readAll(after, maxCount),
    head: () => store.head(),
    subscribe: (options) => store.subscribe(options),
    isReady: () => store.isReady(),
    close: () => store.close(),
  };
}

function wrapBus(bus: MessageBus, pass: (point: string) => void): MessageBus {
  return {
    publish: async (topic, messages) => {
      for (const { type } of messages) pass(`bus.publish.${type}.before`);
      await bus.publish(topic, messages);
      for (const { type } of messages) pass(`bus.publish.${type}.after`);
    },
    subscribe: (options) => bus.subscribe(options),
    isReady: () => bus.isReady(),
    close: () => bus.close(),
  };
}
