/** One actor's connection to the event store: the real in-memory store behind an unreliable network. */
import type { EventStore, SubscribeOptions } from '../../events/store/event-store.js';
import { drawFate, latencyMs, type Network, overNetwork, SimulatedFault } from './network.js';
import type { Actor } from './timeline.js';

/** Small batches, so that a short history has many boundaries between them. */
const SUBSCRIPTION_BATCH_MAX = 6;

export function connectStore(store: EventStore, actor: Actor, network: Network): EventStore {
  const read = <Answer>(label: string, perform: () => Promise<Answer>) =>
    overNetwork(network, actor, label, drawFate(network, { refused: network.faults.readFails, answerLost: 0 }), perform);
  return {
    append(appends) {
      const { appendRefused, appendAnswerLost, appendLandsLate } = network.faults;
      const fate = drawFate(network, { refused: appendRefused, answerLost: appendAnswerLost, landsLate: appendLandsLate });
      return overNetwork(network, actor, 'append', fate, () => store.append(appends));
    },
    readStream: (stream, options) => read('read stream', () => store.readStream(stream, options)),
    readAll: (after, maxCount) => read('read log', () => store.readAll(after, maxCount)),
    head: () => read('read head', () => store.head()),
    subscribe: (options) => subscribe(store, actor, network, options),
    isReady: () => store.isReady(),
    close: async () => {},
  };
}

function subscribe(store: EventStore, actor: Actor, network: Network, options: SubscribeOptions) {
  const subscription = store.subscribe({
    ...options,
    batchMax: 1 + network.random.below(SUBSCRIPTION_BATCH_MAX),
    onEvents: (events) =>
      new Promise<void>((resolve, reject) => {
        network.timeline.after(actor, 'events delivered', latencyMs(network), () => {
          Promise.resolve(options.onEvents(events)).then(() => {
            if (network.random.chance(network.faults.deliveredAgain)) reject(new SimulatedFault('delivered again'));
            else resolve();
          }, reject);
        });
      }),
  });
  actor.onDeath(() => void subscription.stop());
  return subscription;
}
