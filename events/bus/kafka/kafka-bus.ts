/**
 * The MessageBus on Apache Kafka, by kafkajs: durable, ordered per key, at least once. A message is accepted when every in-sync copy has it, and
 * counts as handled when its offset is committed after the handler returned.
 *
 * Kafka's transactions are not used: the ledger's streams decide what happened once. A publication that ended as unknown may still appear,
 * also late, and a rebalance repeats what was handled and not yet committed.
 */
import type { Logger } from 'pino';
import type { BusSubscription, Message, MessageBus, SubscribeOptions } from '../message-bus.js';
import { KafkaProbe } from './kafka-probe.js';
import { KafkaPublisher, PUBLISH_TIMEOUT_DEFAULT_MS, WAITING_BYTES_MAX } from './kafka-publisher.js';
import type { KafkaSettings } from './kafka-settings.js';
import { KafkaSubscription } from './kafka-subscription.js';

export { PublicationUnknownError } from './kafka-publisher.js';
export { type KafkaSettings, kafkaSettingsFromEnvironment } from './kafka-settings.js';

export type KafkaBusOptions = {
  readonly settings: KafkaSettings;
  readonly logger: Logger;
  /** After this long a publication without an answer is refused as unknown; `PUBLISH_TIMEOUT_DEFAULT_MS` by default. */
  readonly publishTimeoutMs?: number;
  /** Bound of what waits for acknowledgement; `WAITING_BYTES_MAX` by default. */
  readonly waitingBytesMax?: number;
};

export type KafkaBus = MessageBus & {
  /** Messages that wait for acknowledgement; for gauges. */
  readonly waitingMessages: number;
};

/** Connects to nothing yet: a process may start before its brokers, and says by `isReady` whether it has them. */
export function createKafkaBus(options: KafkaBusOptions): KafkaBus {
  const { settings, logger } = options;
  const probe = new KafkaProbe(settings, logger);
  const publisher = new KafkaPublisher({
    settings,
    probe,
    logger,
    timeoutMs: options.publishTimeoutMs ?? PUBLISH_TIMEOUT_DEFAULT_MS,
    waitingBytesMax: options.waitingBytesMax ?? WAITING_BYTES_MAX,
  });
  const subscriptions = new Set<KafkaSubscription>();
  let closing: Promise<void> | null = null;

  const closeAll = async () => {
    // Handlers that run may publish until they have ended.
    await Promise.all([...subscriptions].map((subscription) => subscription.stop()));
    subscriptions.clear();
    await publisher.close();
    probe.close();
  };

  return {
    get waitingMessages() {
      return publisher.waitingMessages;
    },
    publish: (topic: string, messages: readonly Message[]) => publisher.publish(topic, messages),
    async subscribe(subscribe: SubscribeOptions): Promise<BusSubscription> {
      if (closing !== null) throw new Error('the bus is closed');
      const subscription = new KafkaSubscription({ settings, subscribe, logger });
      subscriptions.add(subscription);
      try {
        await subscription.start();
      } catch (error) {
        subscriptions.delete(subscription);
        throw error;
      }
      return {
        async stop() {
          await subscription.stop();
          subscriptions.delete(subscription);
        },
      };
    },
    async isReady() {
      if (closing !== null) return false;
      for (const subscription of subscriptions) if (!subscription.isJoined) return false;
      return (await probe.isReachable()) && closing === null;
    },
    close() {
      closing ??= closeAll();
      return closing;
    },
  };
}
