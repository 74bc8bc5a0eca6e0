/**
 * Keeps one subscriber in its group: opens a consumer, and another one whenever it is lost.
 *
 *     opening ──joined──▶ joined ──lost──▶ pausing ──▶ opening
 *        │ failed ─────────────────────────▲
 *        ▼ stop()
 *     stopped
 */
import type { Logger } from 'pino';
import { Pause } from '../../../platform/pause.js';
import type { BusSubscription, SubscribeOptions } from '../message-bus.js';
import { ConsumerSession } from './consumer-session.js';
import type { KafkaSettings } from './kafka-settings.js';

/** Pause before a lost consumer is replaced; doubles up to the maximum, so that a broker that comes back is noticed within seconds. */
const REOPEN_DELAY_MS = 100;
const REOPEN_DELAY_MAX_MS = 2_000;

/** A first subscription that has not joined by then fails: the topic is missing, or the cluster is. */
export const SUBSCRIBE_TIMEOUT_MS = 30_000;

export type KafkaSubscriptionOptions = { readonly settings: KafkaSettings; readonly subscribe: SubscribeOptions; readonly logger: Logger };

export class KafkaSubscription implements BusSubscription {
  readonly #options: KafkaSubscriptionOptions;
  #session: ConsumerSession | null = null;
  #isJoined = false;
  #isStopped = false;
  /** An outage is told once, not at every attempt to end it. */
  #isOutageTold = false;
  readonly #pause = new Pause();
  /** Ends the wait for the loss of the session that is joined. */
  #endWatch: () => void = () => {};
  #supervision: Promise<void> = Promise.resolve();

  constructor(options: KafkaSubscriptionOptions) {
    this.#options = options;
  }

  /** Whether the consumer is a member of its group, as far as it knows. */
  get isJoined(): boolean {
    return this.#isJoined;
  }

  /** Resolves when the consumer has joined for the first time. Rejects, with the last reason, when it has not within `SUBSCRIBE_TIMEOUT_MS`. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#supervision = this.#supervise(resolve, reject);
    });
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#isJoined = false;
    this.#pause.end();
    this.#endWatch();
    await this.#session?.close();
    await this.#supervision;
  }

  async #supervise(onFirstJoin: () => void, onRefused: (error: unknown) => void): Promise<void> {
    const giveUpMs = performance.now() + SUBSCRIBE_TIMEOUT_MS;
    let hasJoined = false;
    let delayMs = REOPEN_DELAY_MS;
    while (!this.#isStopped) {
      const { session, lost } = this.#newSession();
      this.#session = session;
      try {
        await session.open();
        this.#isJoined = !this.#isStopped;
        hasJoined = true;
        this.#isOutageTold = false;
        delayMs = REOPEN_DELAY_MS;
        onFirstJoin();
        await lost;
      } catch (error) {
        if (!hasJoined && performance.now() > giveUpMs) {
          this.#isStopped = true;
          onRefused(error);
        } else if (!this.#isStopped) this.#report(error);
      }
      this.#isJoined = false;
      await session.close();
      if (!this.#isStopped) await this.#pause.wait(delayMs);
      delayMs = Math.min(delayMs * 2, REOPEN_DELAY_MAX_MS);
    }
    // A subscription that is stopped before it has joined is not an error of whoever waits for it.
    onFirstJoin();
  }

  /** `lost` rejects when the session needs a successor, and resolves when the subscription is stopped. */
  #newSession(): { readonly session: ConsumerSession; readonly lost: Promise<void> } {
    const { settings, subscribe, logger } = this.#options;
    const groupId = kafkaGroupId(subscribe);
    let onLost: (reason: Error) => void = () => {};
    const lost = new Promise<void>((resolve, reject) => {
      onLost = reject;
      this.#endWatch = resolve;
    });
    // It may be lost before it has joined, which `open` reports.
    lost.catch(() => {});
    return { session: new ConsumerSession({ settings, groupId, subscribe, logger, onLost: (reason) => onLost(reason) }), lost };
  }

  #report(error: unknown): void {
    const { topic, group, onError } = this.#options.subscribe;
    if (this.#isOutageTold) {
      this.#options.logger.debug({ err: error, topic, group }, 'a Kafka consumer could not be opened');
      return;
    }
    this.#isOutageTold = true;
    this.#options.logger.warn({ err: error, topic, group }, 'a Kafka consumer was lost; a new one takes its place');
    try {
      onError?.(error);
    } catch (cause) {
      this.#options.logger.error({ err: cause, topic, group }, 'an error listener failed');
    }
  }
}

/** A group of the bus is one of a topic, while Kafka wants all members of a group to read the same topics. */
export function kafkaGroupId({ group, topic }: Pick<SubscribeOptions, 'group' | 'topic'>): string {
  return `${group}.${topic}`;
}
