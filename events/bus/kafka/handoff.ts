/**
 * Hands what one consumer has fetched to the subscriber's handler: one call at a time, the partitions of a fetch together, failed batches again
 * after a pause, and poison passed over.
 *
 * kafkajs offers each partition's share on its own. Joined, a handler that writes once per call writes once per fetch. Nobody gets an answer
 * before everything that was offered is handled: kafkajs rejoins its group as soon as one share has returned and learns of a rebalance, and
 * no handler may run on while the keys go to another member.
 *
 *     idle ──offer──▶ handling ──▶ handling the next batch ──▶ idle: every offer is answered
 *                        ▲  │ failed
 *                        │  ▼
 *                     backing off ──end()──▶ idle: every offer is answered with the reason
 */
import { Pause } from '../../../platform/pause.js';
import type { Message, SubscribeOptions } from '../message-bus.js';

/** Messages handed over at once unless the subscriber says otherwise. */
export const BATCH_DEFAULT_MAX = 500;

/** First pause before a failed batch is delivered again; doubles up to the maximum. */
export const REDELIVERY_DELAY_MS = 10;
export const REDELIVERY_DELAY_MAX_MS = 1_000;

export type OfferedMessage = { readonly message: Message; readonly offset: string };

/** What one partition has brought, in its order. */
export type Offer = {
  readonly messages: readonly OfferedMessage[];
  /** Told after each handled batch: everything of this offer up to and including `offset` is done with. */
  readonly onHandled: (offset: string) => void;
};

type OpenOffer = Offer & { next: number; readonly resolve: () => void; readonly reject: (reason: unknown) => void };
type Share = { readonly offer: OpenOffer; readonly count: number };

export class Handoff {
  readonly #options: SubscribeOptions;
  readonly #offers: OpenOffer[] = [];
  #isWorking = false;
  #isEnding = false;
  #endReason: Error | null = null;
  readonly #pause = new Pause();
  #onIdle: (() => void)[] = [];

  constructor(options: SubscribeOptions) {
    this.#options = options;
  }

  /** Whether a handler runs or messages wait for one. */
  get isWorking(): boolean {
    return this.#isWorking;
  }

  /** Resolves when the messages, and everything offered meanwhile, are handled. Rejects with the reason of `end`. */
  offer(offer: Offer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#offers.push({ ...offer, next: 0, resolve, reject });
      if (!this.#isWorking) void this.#work();
    });
  }

  /** Lets the handler that runs come to its end and begins no other. The offers are rejected with `reason`, if there is one, and else resolved. */
  end(reason: Error | null): void {
    if (!this.#isWorking || this.#isEnding) return;
    this.#isEnding = true;
    this.#endReason = reason;
    this.#pause.end();
  }

  /** Resolves when no handler runs and nothing waits. */
  async idle(): Promise<void> {
    if (this.#isWorking) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    // The other partitions of the same fetch are offered in this turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    for (let shares = this.#take(); shares.length > 0 && !this.#isEnding; shares = this.#take()) await this.#handle(shares);
    const offers = this.#offers.splice(0);
    const reason = this.#endReason;
    this.#isWorking = false;
    this.#isEnding = false;
    this.#endReason = null;
    for (const told of this.#onIdle.splice(0)) told();
    for (const offer of offers) {
      if (reason === null) offer.resolve();
      else offer.reject(reason);
    }
  }

  /** What goes into the next call. Nothing is marked as taken: a batch that is not handled is the next one again. */
  #take(): readonly Share[] {
    const shares: Share[] = [];
    let room = this.#options.batchMax ?? BATCH_DEFAULT_MAX;
    for (const offer of this.#offers) {
      const count = Math.min(room, offer.messages.length - offer.next);
      if (count > 0) shares.push({ offer, count });
      room -= count;
      if (room === 0) break;
    }
    return shares;
  }

  /** Delivers one batch until it is handled, counts as poison, or the handoff ends. */
  async #handle(shares: readonly Share[]): Promise<void> {
    const { onMessages, attemptsMax = Number.POSITIVE_INFINITY, onPoison, onError } = this.#options;
    const messages = shares.flatMap(({ offer, count }) => offer.messages.slice(offer.next, offer.next + count).map((one) => one.message));
    for (let deliveries = 1; ; deliveries += 1) {
      try {
        await onMessages(messages);
        break;
      } catch (error) {
        tell(() => onError?.(error));
        // A report of poison that fails itself has not happened, and the batch is tried again.
        if (deliveries >= attemptsMax && tell(() => onPoison?.(messages, error))) break;
        if (!this.#isEnding) await this.#pause.wait(Math.min(REDELIVERY_DELAY_MS * 2 ** (deliveries - 1), REDELIVERY_DELAY_MAX_MS));
        if (this.#isEnding) return;
      }
    }
    for (const { offer, count } of shares) {
      offer.next += count;
      offer.onHandled((offer.messages[offer.next - 1] as OfferedMessage).offset);
    }
  }
}

/** Whether the listener took it. One that throws must not stop the messages. */
function tell(listener: () => void): boolean {
  try {
    listener();
    return true;
  } catch {
    return false;
  }
}
