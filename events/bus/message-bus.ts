/**
 * The MessageBus port: topics of keyed messages, ordered per key, delivered at least once to every subscriber group. Adapters pass the
 * shared contract suite in `message-bus-contract.ts`.
 */
import type { JsonObject } from '../contract/envelope.js';

export type Message = {
  /** Messages of one key arrive in the order they were published. */
  readonly key: string;
  /** Name of the message's schema, such as `RunRequested`. */
  readonly type: string;
  readonly headers: Readonly<Record<string, string>>;
  /** A JSON value, never changed once published. */
  readonly value: JsonObject;
};

export type SubscribeOptions = {
  readonly topic: string;
  /** Subscribers of one group share the keys of a topic; each group sees every message published after its first subscription. */
  readonly group: string;
  /**
   * Called with messages in order per key, never concurrently for one key. Rejection means redelivery of the batch after a backoff; after
   * `attemptsMax` deliveries it goes to `onPoison` and is passed over.
   */
  readonly onMessages: (messages: readonly Message[]) => Promise<void> | void;
  /** Most messages handed over at once; 500 by default. */
  readonly batchMax?: number;
  /** Deliveries of a batch before it counts as poison; endless by default. */
  readonly attemptsMax?: number;
  readonly onPoison?: (messages: readonly Message[], error: unknown) => void;
  readonly onError?: (error: unknown) => void;
};

export type BusSubscription = {
  /** Takes no further message and resolves when the handlers that run have ended. */
  stop(): Promise<void>;
};

/** The bus cannot take more: the bound of a queue is reached. Callers answer 503 or wait. */
export class BusFullError extends Error {
  override readonly name = 'BusFullError';
}

/** The topic does not exist (any more): nobody will read what is published to it, and trying again is of no use. */
export class UnknownTopicError extends Error {
  override readonly name = 'UnknownTopicError';
}

export interface MessageBus {
  /** Resolves when the bus has accepted the messages (durably, where it is durable). Rejects with `BusFullError` at a queue's bound. */
  publish(topic: string, messages: readonly Message[]): Promise<void>;
  subscribe(options: SubscribeOptions): Promise<BusSubscription>;
  isReady(): Promise<boolean>;
  close(): Promise<void>;
}
