/**
 * One life of a Kafka producer, from its producer id to the first failure whose outcome is not known. Then it is cut off and a new one takes
 * its place.
 *
 * Why not let it live: kafkajs takes a failed batch's sequence numbers back. If the broker had written that batch, the next one of the same
 * length looks to the broker like its repetition, is acknowledged, and is never written. Numbers of a new producer id cannot collide.
 */
import { Partitioners, type Producer, type RecordMetadata } from 'kafkajs';
import type { Logger } from 'pino';
import { connectionGate } from './connection-gate.js';
import type { EncodedRecord } from './kafka-record.js';
import { type KafkaSettings, kafkaClient, QUICK_RETRIES } from './kafka-settings.js';

/** Waiting for all in-sync copies: a message that was accepted outlives the loss of any one broker. */
const ACKS_ALL = -1;
/** How long the broker may wait for the copies. */
const BROKER_ACK_TIMEOUT_MS = 5_000;
/** For connections to be refused or made and a producer id to be given. */
const OPEN_TIMEOUT_MS = 5_000;

export type ProducerSession = {
  /** Resolves when every partition concerned has acknowledged. Never call it again for a topic before it has settled. */
  send(topic: string, records: readonly EncodedRecord[]): Promise<void>;
  /** Gives the session up: nothing more is written, and what is being sent rejects with `reason`. */
  cut(reason: Error): void;
  /** Ends the session in good order; everything sent has been acknowledged. */
  close(): Promise<void>;
};

/** Connects and obtains a producer id. Rejects when the cluster cannot be reached. `onCut` is called once if the session is given up. */
export async function openProducerSession(
  settings: KafkaSettings,
  logger: Logger,
  onCut: (reason: Error) => void,
): Promise<ProducerSession> {
  const gate = connectionGate();
  /** Partitions that the current send of a topic writes to. */
  const chosen = new Map<string, Set<number>>();
  const producer = createProducer(settings, gate, logger, chosen);
  /** How to end the sends that wait, when the session is cut off. */
  const rejections = new Set<(reason: Error) => void>();
  let isOver = false;
  const cut = (reason: Error) => {
    if (isOver) return;
    isOver = true;
    gate.cut();
    void producer.disconnect().catch(() => {});
    for (const reject of rejections) reject(reason);
    onCut(reason);
  };
  const sendAll = async (topic: string, records: readonly EncodedRecord[]) => {
    const partitions = new Set<number>();
    chosen.set(topic, partitions);
    const messages = records.map((encoded) => encoded.record);
    const answers = await producer.send({ topic, messages, acks: ACKS_ALL, timeout: BROKER_ACK_TIMEOUT_MS });
    chosen.delete(topic);
    checkAnswers(topic, partitions, answers);
  };
  const patience = setTimeout(() => gate.cut(), OPEN_TIMEOUT_MS);
  try {
    await producer.connect();
  } catch (error) {
    gate.cut();
    throw error;
  } finally {
    clearTimeout(patience);
  }
  return {
    async send(topic, records) {
      if (isOver) throw new Error('this producer has been given up');
      let rejection: (reason: Error) => void = () => {};
      try {
        await new Promise<void>((resolve, reject) => {
          rejection = reject;
          rejections.add(reject);
          sendAll(topic, records).then(resolve, reject);
        });
      } finally {
        rejections.delete(rejection);
      }
    },
    cut,
    async close() {
      isOver = true;
      await producer.disconnect().finally(() => gate.cut());
    },
  };
}

function createProducer(
  settings: KafkaSettings,
  gate: ReturnType<typeof connectionGate>,
  logger: Logger,
  chosen: ReadonlyMap<string, Set<number>>,
): Producer {
  return kafkaClient(settings, gate, logger).producer({
    // The broker drops repetitions that the client's own retries cause, and keeps a producer's order.
    idempotent: true,
    // More than one unacknowledged request could be written out of order when the first one is repeated.
    maxInFlightRequests: 1,
    // A misspelt topic must fail rather than appear.
    allowAutoTopicCreation: false,
    // Finite, unlike the library's default, so that a session that was cut off comes to rest.
    retry: { ...QUICK_RETRIES, retries: 30 },
    // Named, since a key must go to the same partition whatever the library's default becomes: murmur2 of the key, as Java clients do it.
    createPartitioner: () => {
      const partitionOf = Partitioners.DefaultPartitioner();
      return (message) => {
        const partition = partitionOf(message);
        chosen.get(message.topic)?.add(partition);
        return partition;
      };
    },
  });
}

/**
 * kafkajs repeats only what had no answer, by broker. When a partition moves to a broker that had already answered, its messages are dropped
 * and the send still resolves; so every partition is looked for among the answers.
 */
function checkAnswers(topic: string, partitions: ReadonlySet<number>, answers: readonly RecordMetadata[]): void {
  const acknowledged = new Set<number>();
  for (const answer of answers) if (answer.errorCode === 0) acknowledged.add(answer.partition);
  for (const partition of partitions) {
    if (!acknowledged.has(partition)) throw new Error(`partition ${partition} of topic ${topic} did not acknowledge`);
  }
}
