/**
 * Publishes messages: bounded, in order, each within a time limit.
 *
 * Every topic has a lane. A lane sends one request at a time and puts into it what has gathered meanwhile, so the order of a key is the order
 * of its publications, also through failures, and a busy topic gets large requests by itself. A request that fails is sent again until its
 * publications' time is up; the ones whose time is up are refused, and whether they were written is then unknown.
 *
 *     idle ──publish──▶ sending ──acknowledged──▶ sending what gathered, or idle
 *                        ▲   │ failed, or no answer in time: the session is cut off
 *                        └───┘ what still has time is sent again, before anything newer
 */
import type { Logger } from 'pino';
import { BusFullError, type Message, UnknownTopicError } from '../message-bus.js';
import type { KafkaProbe } from './kafka-probe.js';
import { type EncodedRecord, encodeRecord } from './kafka-record.js';
import type { KafkaSettings } from './kafka-settings.js';
import { openProducerSession, type ProducerSession } from './producer-session.js';

/** What may wait for acknowledgement: seconds of the heaviest traffic, and far less than a process has memory. */
export const WAITING_BYTES_MAX = 32 * 1024 * 1024;
export const WAITING_MESSAGES_MAX = 100_000;

/** Below the broker's `message.max.bytes` of 1 MiB, also when everything goes to one partition. */
export const SEND_BYTES_MAX = 900 * 1024;

/** An acknowledgement takes milliseconds. After this long the caller is told that it is not known whether its messages were accepted. */
export const PUBLISH_TIMEOUT_DEFAULT_MS = 10_000;

/** The client repeats a request to a topic that has been removed as if it might come back; after this long we look for it. */
const DOUBT_TOPIC_AFTER_MS = 1_000;

/** Pause after a failed request or connection. */
const RETRY_PAUSE_MS = 100;

/** Answers of the broker that no repetition changes. */
const FINAL_ERRORS: ReadonlySet<string> = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'INVALID_TOPIC_EXCEPTION',
  'TOPIC_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
]);

/** The time was up before the cluster had answered: the messages may have been published, may still be, or not at all. */
export class PublicationUnknownError extends Error {
  override readonly name = 'PublicationUnknownError';
}

type Publication = {
  readonly records: readonly EncodedRecord[];
  readonly bytes: number;
  readonly deadlineMs: number;
  /** Records that have been acknowledged; a large publication takes several requests. */
  acknowledged: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
};

type Lane = {
  readonly topic: string;
  readonly queue: Publication[];
  /** Publications to send by themselves: one of them has been refused, and the others shall not suffer for it. */
  alone: number;
};

type Request = { readonly publications: readonly Publication[]; readonly records: readonly EncodedRecord[] };

export type KafkaPublisherOptions = {
  readonly settings: KafkaSettings;
  readonly probe: KafkaProbe;
  readonly logger: Logger;
  readonly timeoutMs: number;
  readonly waitingBytesMax: number;
};

export class KafkaPublisher {
  readonly #options: KafkaPublisherOptions;
  readonly #lanes = new Map<string, Lane>();
  #opening: Promise<ProducerSession> | null = null;
  #waitingBytes = 0;
  #waitingMessages = 0;
  #isClosed = false;
  #onIdle: (() => void)[] = [];

  constructor(options: KafkaPublisherOptions) {
    this.#options = options;
  }

  /** Messages that wait for acknowledgement; for gauges. */
  get waitingMessages(): number {
    return this.#waitingMessages;
  }

  publish(topic: string, messages: readonly Message[]): Promise<void> {
    if (this.#isClosed) return Promise.reject(new Error('the bus is closed'));
    if (messages.length === 0) return Promise.resolve();
    const records = messages.map(encodeRecord);
    const bytes = records.reduce((sum, record) => sum + record.bytes, 0);
    const { waitingBytesMax, timeoutMs } = this.#options;
    if (this.#waitingBytes + bytes > waitingBytesMax || this.#waitingMessages + records.length > WAITING_MESSAGES_MAX) {
      const waiting = `${this.#waitingMessages} messages of ${this.#waitingBytes} bytes`;
      return Promise.reject(new BusFullError(`${waiting} wait for Kafka, of at most ${WAITING_MESSAGES_MAX} and ${waitingBytesMax}`));
    }
    this.#waitingBytes += bytes;
    this.#waitingMessages += records.length;
    return new Promise((resolve, reject) => {
      const deadlineMs = performance.now() + timeoutMs;
      const publication: Publication = { records, bytes, deadlineMs, acknowledged: 0, resolve, reject };
      const lane = this.#lanes.get(topic);
      if (lane !== undefined) lane.queue.push(publication);
      else void this.#work({ topic, queue: [publication], alone: 0 });
    });
  }

  /** Opens the connection ahead of the first publication. Rejects when the cluster cannot be reached. */
  async connect(): Promise<void> {
    await this.#session();
  }

  /** Waits for what is on its way, which takes the time limit at most, and disconnects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#lanes.size > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
    const session = await this.#opening?.catch(() => null);
    this.#opening = null;
    await session?.close().catch(() => {});
  }

  async #work(lane: Lane): Promise<void> {
    this.#lanes.set(lane.topic, lane);
    // What is published in the same turn of the event loop goes into the same request.
    await new Promise((resolve) => setImmediate(resolve));
    while (lane.queue.length > 0) {
      const request = nextRequest(lane);
      const error = await this.#attempt(lane.topic, request);
      if (error === null) this.#acknowledge(lane, request);
      else if (isFinal(error)) this.#refuse(lane, request, error);
      else {
        this.#refuseLate(lane, error);
        if (lane.queue.length > 0) await new Promise((resolve) => setTimeout(resolve, RETRY_PAUSE_MS));
      }
    }
    this.#lanes.delete(lane.topic);
    if (this.#lanes.size === 0) for (const told of this.#onIdle.splice(0)) told();
  }

  /** `null` when it was acknowledged. Returns when the time of the request's first publication is up, whatever the broker does. */
  async #attempt(topic: string, { publications, records }: Request): Promise<Error | null> {
    const deadlineMs = (publications[0] as Publication).deadlineMs;
    let session: ProducerSession | null = null;
    const { probe } = this.#options;
    const timers: NodeJS.Timeout[] = [];
    const timeout = new Promise<never>((_, reject) => {
      const doubt = async () => {
        if ((await probe.stillHasTopic(topic)) === false) reject(new UnknownTopicError(`Kafka has no topic ${topic}`));
      };
      timers.push(setTimeout(doubt, DOUBT_TOPIC_AFTER_MS));
      const late = () => reject(new PublicationUnknownError(`Kafka did not acknowledge within ${this.#options.timeoutMs} ms`));
      timers.push(setTimeout(late, Math.max(0, deadlineMs - performance.now())));
    });
    const send = async () => {
      if ((await probe.hasTopic(topic)) === false) throw new UnknownTopicError(`Kafka has no topic ${topic}`);
      session = await this.#session();
      // The caller has been told already; what is sent now could overtake its repetition.
      if (performance.now() >= deadlineMs) throw new Error('too late to send');
      await session.send(topic, records);
    };
    const sending = send();
    try {
      await Promise.race([sending, timeout]);
      return null;
    } catch (error) {
      // It may fail once more when its session is cut off.
      sending.catch(() => {});
      (session as ProducerSession | null)?.cut(error as Error);
      return error as Error;
    } finally {
      for (const timer of timers) clearTimeout(timer);
    }
  }

  #session(): Promise<ProducerSession> {
    const { settings, logger } = this.#options;
    const onCut = (reason: Error) => {
      logger.warn({ err: reason }, 'the Kafka producer was given up; a new one takes its place');
      this.#opening = null;
    };
    this.#opening ??= openProducerSession(settings, logger, onCut).catch((error: unknown) => {
      this.#opening = null;
      throw error;
    });
    return this.#opening;
  }

  #acknowledge(lane: Lane, { publications, records }: Request): void {
    let count = records.length;
    for (const publication of publications) {
      const taken = Math.min(count, publication.records.length - publication.acknowledged);
      publication.acknowledged += taken;
      count -= taken;
      if (publication.acknowledged === publication.records.length) this.#leave(lane, publication).resolve();
    }
  }

  /** A request of several publications was refused for one of them, which is found by sending each alone. */
  #refuse(lane: Lane, { publications }: Request, error: Error): void {
    if (publications.length > 1 && !(error instanceof UnknownTopicError)) lane.alone = publications.length;
    else for (const publication of publications) this.#leave(lane, publication).reject(error);
  }

  #refuseLate(lane: Lane, cause: Error): void {
    const nowMs = performance.now();
    const error =
      cause instanceof PublicationUnknownError
        ? cause
        : new PublicationUnknownError(`Kafka did not accept within ${this.#options.timeoutMs} ms`, { cause });
    for (const publication of lane.queue.filter((one) => one.deadlineMs <= nowMs)) this.#leave(lane, publication).reject(error);
  }

  #leave(lane: Lane, publication: Publication): Publication {
    lane.queue.splice(lane.queue.indexOf(publication), 1);
    if (lane.alone > 0) lane.alone -= 1;
    this.#waitingBytes -= publication.bytes;
    this.#waitingMessages -= publication.records.length;
    return publication;
  }
}

/** What the lane sends next: whole publications up to the bound of a request, or a part of the first one when it alone exceeds it. */
function nextRequest(lane: Lane): Request {
  const publications: Publication[] = [];
  const records: EncodedRecord[] = [];
  let bytes = 0;
  const publicationsMax = lane.alone > 0 ? 1 : lane.queue.length;
  for (const publication of lane.queue) {
    if (publications.length === publicationsMax) break;
    if (publications.length > 0 && bytes + publication.bytes > SEND_BYTES_MAX) break;
    publications.push(publication);
    for (let index = publication.acknowledged; index < publication.records.length; index += 1) {
      const record = publication.records[index] as EncodedRecord;
      if (records.length > 0 && bytes + record.bytes > SEND_BYTES_MAX) return { publications, records };
      records.push(record);
      bytes += record.bytes;
    }
  }
  return { publications, records };
}

/** The library wraps an error in what it did about it; the broker's answer is at the bottom. */
function isFinal(error: unknown): boolean {
  if (error instanceof UnknownTopicError) return true;
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { type } = cause as { type?: string };
    if (type !== undefined && FINAL_ERRORS.has(type)) return true;
  }
  return false;
}
