/**
 * One life of a Kafka consumer in its group, from joining to the first failure that the client does not mend itself. The subscription then cuts
 * it off and opens a new one.
 *
 * Offsets are committed after their messages were handled, behind the handler's back: a commit is a round trip, and messages that are handled
 * again after a crash are what every handler must bear anyway.
 */
import { type Cluster, type Consumer, type EachBatchPayload, PartitionAssigners } from 'kafkajs';
import type { Logger } from 'pino';
import { within } from '../../../platform/within.js';
import type { SubscribeOptions } from '../message-bus.js';
import { connectionGate } from './connection-gate.js';
import { Handoff, type OfferedMessage } from './handoff.js';
import { decodeRecord } from './kafka-record.js';
import { type KafkaSettings, kafkaClient, QUICK_RETRIES } from './kafka-settings.js';
import { fixStartOffsets } from './start-offsets.js';

/** How long the group waits for a silent member before it hands its partitions on; the least that brokers allow by default. */
export const SESSION_TIMEOUT_MS = 6_000;
/** Members learn of a newcomer by their heartbeat, so this is also how long one waits to join. */
export const HEARTBEAT_INTERVAL_MS = 500;
/** How long a rebalance waits for members whose handler runs. A handler that takes longer may find its keys handled elsewhere. */
export const REBALANCE_TIMEOUT_MS = 30_000;
/** The broker answers a fetch at once when there is something, else after this long: an idle topic costs five requests a second. */
const FETCH_WAIT_MS_MAX = 200;
/** One answer's size: bounds what a subscriber has in memory. */
const FETCH_BYTES_MAX = 4 * 1024 * 1024;
const FETCH_BYTES_PER_PARTITION_MAX = 1024 * 1024;
/** Partitions whose shares of a fetch are joined into one call of the handler. */
const PARTITIONS_JOINED_MAX = 256;
/** Joining and fetching both make themselves heard long before. */
const STALLED_AFTER_MS = REBALANCE_TIMEOUT_MS + 10_000;
const STALL_CHECK_MS = 1_000;
/** Leaving the group politely; without an answer the broker notices by the missing heartbeats. */
const LEAVE_TIMEOUT_MS = 3_000;

export type ConsumerSessionOptions = {
  readonly settings: KafkaSettings;
  readonly groupId: string;
  readonly subscribe: SubscribeOptions;
  readonly logger: Logger;
  /** Called once, when the session needs a successor. Not called by `close`. */
  readonly onLost: (reason: Error) => void;
};

export class ConsumerSession {
  readonly #options: ConsumerSessionOptions;
  readonly #gate = connectionGate();
  readonly #consumer: Consumer;
  readonly #handoff: Handoff;
  #cluster: Cluster | null = null;
  /** Next offsets of partitions that are handled and not committed, of this generation of the group. */
  #handled = new Map<number, string>();
  #committing: Promise<void> | null = null;
  #latest: EachBatchPayload | null = null;
  #lastHeardMs = performance.now();
  #timers: NodeJS.Timeout[] = [];
  #isOver = false;
  #closing: Promise<void> | null = null;
  #refuseJoin: (reason: Error) => void = () => {};

  constructor(options: ConsumerSessionOptions) {
    this.#options = options;
    this.#handoff = new Handoff(options.subscribe);
    this.#consumer = this.#createConsumer();
  }

  /** Resolves when the consumer has joined its group. Rejects when it cannot; close it then. */
  async open(): Promise<void> {
    this.#timers.push(setInterval(() => this.#beat(), HEARTBEAT_INTERVAL_MS / 2).unref());
    this.#timers.push(setInterval(() => this.#checkStall(), STALL_CHECK_MS).unref());
    const joined = this.#listen();
    // A session that is closed or lost meanwhile does not wait for the client's own patience.
    await Promise.race([this.#begin().then(() => joined), joined]);
  }

  async #begin(): Promise<void> {
    const { groupId, subscribe } = this.#options;
    await this.#consumer.connect();
    await fixStartOffsets(this.#cluster as Cluster, groupId, subscribe.topic);
    // Where an offset is missing or its messages have been deleted, begin with the oldest there is: a partition added later is read whole.
    await this.#consumer.subscribe({ topics: [subscribe.topic], fromBeginning: true });
    await this.#consumer.run({
      autoCommit: false,
      // Only what a handler has taken counts.
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: PARTITIONS_JOINED_MAX,
      eachBatch: (payload) => this.#onBatch(payload),
    });
  }

  /** Takes nothing more, waits for the handler that runs, commits what it did and leaves the group. Never rejects. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#isOver = true;
    this.#refuseJoin(new Error('closed before it had joined'));
    this.#handoff.end(null);
    // The membership is kept until then, or another member would get these keys while their handler runs.
    await this.#handoff.idle();
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    const leave = async () => {
      await this.#committing;
      await this.#consumer.disconnect();
    };
    await within(LEAVE_TIMEOUT_MS, leave()).catch((error: unknown) => {
      this.#options.logger.debug({ err: error }, 'left a Kafka group without saying so');
    });
    this.#gate.cut();
  }

  #createConsumer(): Consumer {
    const { settings, groupId, logger } = this.#options;
    // A client of its own: clients share what they know of committed offsets between their consumers of one group, to their confusion.
    return kafkaClient(settings, this.#gate, logger).consumer({
      groupId,
      sessionTimeout: SESSION_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_INTERVAL_MS,
      rebalanceTimeout: REBALANCE_TIMEOUT_MS,
      maxWaitTimeInMs: FETCH_WAIT_MS_MAX,
      maxBytes: FETCH_BYTES_MAX,
      maxBytesPerPartition: FETCH_BYTES_PER_PARTITION_MAX,
      allowAutoTopicCreation: false,
      // A crash is answered by a new session with connections of its own.
      retry: { ...QUICK_RETRIES, restartOnFailure: () => Promise.resolve(false) },
      partitionAssigners: [
        (config) => {
          this.#cluster = config.cluster;
          return PartitionAssigners.roundRobin(config);
        },
      ],
    });
  }

  /** Resolves at the first join; rejects at a crash before it. */
  #listen(): Promise<void> {
    const { GROUP_JOIN, CRASH, FETCH, HEARTBEAT } = this.#consumer.events;
    const onHeard = () => {
      this.#lastHeardMs = performance.now();
    };
    this.#consumer.on(FETCH, onHeard);
    this.#consumer.on(HEARTBEAT, onHeard);
    return new Promise((resolve, reject) => {
      this.#refuseJoin = reject;
      this.#consumer.on(GROUP_JOIN, () => {
        onHeard();
        // Another member may be ahead with these partitions by now; an old offset must not take its place.
        this.#handled.clear();
        resolve();
      });
      this.#consumer.on(CRASH, ({ payload }) => this.#lose(payload.error));
    });
  }

  async #onBatch(payload: EachBatchPayload): Promise<void> {
    // Not answered before the handler has ended, or the client would fetch the same again and again.
    if (this.#isOver) return this.#handoff.idle();
    const { batch } = payload;
    const messages: OfferedMessage[] = [];
    for (const record of batch.messages) {
      const message = decodeRecord(record);
      if (message !== null) messages.push({ message, offset: record.offset });
      else this.#passOver(batch.topic, batch.partition, record.offset);
    }
    const last = batch.messages.at(-1)?.offset;
    const onHandled = (offset: string) => {
      // Records that were passed over at the end are done with when the last message is.
      const done = last !== undefined && offset === messages.at(-1)?.offset ? last : offset;
      payload.resolveOffset(done);
      this.#handled.set(batch.partition, String(BigInt(done) + 1n));
      this.#commitSoon(payload);
    };
    if (messages.length === 0) {
      if (last !== undefined) onHandled(last);
      return;
    }
    this.#latest = payload;
    try {
      await this.#handoff.offer({ messages, onHandled });
    } catch (error) {
      // The client joins again when this is out. Until then the group still takes commits of what was handled.
      await this.#committing;
      throw error;
    }
  }

  #passOver(topic: string, partition: number, offset: string): void {
    const error = new Error(`record ${offset} of partition ${partition} of ${topic} is not a message of this bus and was passed over`);
    try {
      this.#options.subscribe.onError?.(error);
    } catch (cause) {
      this.#options.logger.error({ err: cause }, 'an error listener failed');
    }
  }

  /** Keeps the membership while a handler runs. A rebalance lets it come to its end, and the client joins again. */
  #beat(): void {
    if (!this.#handoff.isWorking || this.#latest === null) return;
    this.#latest.heartbeat().catch((error: Error & { type?: string }) => {
      // A heartbeat without an answer is repeated, until the group must have given these keys to another member.
      const isGivenUp = performance.now() - this.#lastHeardMs > SESSION_TIMEOUT_MS;
      if (error.type !== undefined || isGivenUp) this.#handoff.end(error);
    });
  }

  /** At most one commit is under way; the next one takes everything handled meanwhile. */
  #commitSoon(payload: EachBatchPayload): void {
    this.#latest = payload;
    this.#committing ??= this.#commitAll().finally(() => {
      this.#committing = null;
    });
  }

  async #commitAll(): Promise<void> {
    // The partitions of one batch are marked one by one, and share a commit.
    await Promise.resolve();
    while (this.#handled.size > 0 && this.#latest !== null) {
      const partitions = [...this.#handled].map(([partition, offset]) => ({ partition, offset }));
      this.#handled.clear();
      try {
        await this.#latest.commitOffsetsIfNecessary({ topics: [{ topic: this.#options.subscribe.topic, partitions }] });
      } catch (error) {
        // The next commit covers these; without one, they are handled again.
        this.#options.logger.debug({ err: error, groupId: this.#options.groupId }, 'a Kafka commit failed');
      }
    }
  }

  #checkStall(): void {
    if (this.#handoff.isWorking) return;
    const silentMs = performance.now() - this.#lastHeardMs;
    if (silentMs > STALLED_AFTER_MS) this.#lose(new Error(`the Kafka consumer has been silent for ${Math.round(silentMs)} ms`));
  }

  #lose(reason: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#refuseJoin(reason);
    this.#options.onLost(reason);
  }
}
