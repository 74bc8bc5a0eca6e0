/**
 * One actor's connection to the broker: the real in-process bus, outliving its clients, behind an unreliable network. Publications of one actor
 * arrive in the order they were made, as from an idempotent producer with one request in flight; deliveries end with the actor and go to
 * the next member of the group.
 */
import type { BusSubscription, Message, MessageBus, SubscribeOptions } from '../../events/bus/message-bus.js';
import { drawFate, type Fate, handled, latencyMs, type Network, SimulatedFault } from './network.js';
import type { Actor } from './timeline.js';

/** Small batches, so that a short history has many boundaries between them. */
const DELIVERY_BATCH_MAX = 8;

type Publication = {
  readonly topic: string;
  readonly messages: readonly Message[];
  readonly fate: Fate;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
};

export function connectBus(bus: MessageBus, actor: Actor, network: Network): MessageBus {
  const outbox: Publication[] = [];
  actor.onDeath(() => {
    // What was on the wire may still arrive; what had not left the process is gone.
    if (network.random.chance(0.5)) outbox.length = 0;
  });
  const sendNext = () => {
    const next = outbox.shift();
    if (next !== undefined) send(next, bus, actor, network);
  };
  return {
    publish(topic, messages) {
      return new Promise((resolve, reject) => {
        if (!actor.isAlive) return;
        const { publishRefused, publishAnswerLost } = network.faults;
        const fate = drawFate(network, { refused: publishRefused, answerLost: publishAnswerLost });
        outbox.push({ topic, messages, fate, resolve, reject });
        network.timeline.after(network.outside, 'publish', latencyMs(network), sendNext);
      });
    },
    subscribe: (options) => subscribe(bus, actor, network, options),
    isReady: () => bus.isReady(),
    close: async () => {},
  };
}

function send({ topic, messages, fate, resolve, reject }: Publication, bus: MessageBus, actor: Actor, network: Network): void {
  const refuse = () => reject(new SimulatedFault(`publish: ${fate}`));
  const answer = (label: string, work: () => void) => network.timeline.after(actor, label, latencyMs(network), work);
  if (fate === 'refused') {
    answer('publish refused', refuse);
    return;
  }
  const doubled = network.random.chance(network.faults.publishDoubled) ? [...messages, ...messages] : messages;
  bus.publish(topic, doubled).then(
    () => answer('publish answered', fate === 'answer_lost' ? refuse : resolve),
    (error: unknown) => answer('publish failed', () => reject(error)),
  );
}

async function subscribe(bus: MessageBus, actor: Actor, network: Network, options: SubscribeOptions): Promise<BusSubscription> {
  const underWay = new Set<(error: unknown) => void>();
  let repeated: readonly Message[] | null = null;
  const deliver = (messages: readonly Message[]) =>
    new Promise<void>((resolve, reject) => {
      underWay.add(reject);
      network.timeline.after(actor, `deliver ${options.topic}`, latencyMs(network), () => {
        handled(() => options.onMessages(messages)).then(() => {
          underWay.delete(reject);
          // Each batch is repeated once at most: an endless repetition would be another fault than a lost acknowledgement.
          if (repeated === messages || !network.random.chance(network.faults.deliveredAgain)) resolve();
          else {
            repeated = messages;
            reject(new SimulatedFault('delivered again'));
          }
        }, reject);
      });
    });
  const batchMax = Math.min(options.batchMax ?? DELIVERY_BATCH_MAX, 1 + network.random.below(DELIVERY_BATCH_MAX));
  const subscription = await bus.subscribe({ ...options, batchMax, onMessages: deliver });
  const unwind = () => {
    void subscription.stop();
    for (const reject of underWay) reject(new SimulatedFault('the subscriber died'));
    underWay.clear();
  };
  if (actor.isAlive) actor.onDeath(unwind);
  else unwind();
  return subscription;
}
