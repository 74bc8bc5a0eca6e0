/** One actor's connection to the event store: the real in-memory store behind an unreliable network. */
import { type EventStore, READ_EVENTS_MAX, type SubscribeOptions } from '../../events/store/event-store.js';
import { drawFate, handled, latencyMs, type Network, overNetwork, SimulatedFault } from './network.js';
import type { Actor } from './timeline.js';

/** Small batches, so that a short history has many boundaries between them. */
const SUBSCRIPTION_BATCH_MAX = 8;

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
    batchMax: isLarge(options.batchMax) ? 1 + network.random.below(SUBSCRIPTION_BATCH_MAX) : (options.batchMax as number),
    onEvents: (events) =>
      new Promise<void>((resolve, reject) => {
        network.timeline.after(actor, 'events delivered', latencyMs(network), () => {
          handled(() => options.onEvents(events)).then(() => {
            if (network.random.chance(network.faults.deliveredAgain)) reject(new SimulatedFault('delivered again'));
            else resolve();
          }, reject);
        });
      }),
  });
  actor.onDeath(() => void subscription.stop());
  return subscription;
}

/** Whether the subscriber leaves room for smaller batches; a bound that is small already, or none at all, is the store's to judge. */
function isLarge(batchMax: number | undefined): boolean {
  return batchMax === undefined || (batchMax > SUBSCRIPTION_BATCH_MAX && batchMax <= READ_EVENTS_MAX);
}
