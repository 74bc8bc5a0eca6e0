/**
 * What a worker has to tell, gathered for one turn of the event loop: many runs' texts become one publication per topic, and a run's texts
 * of one turn become one message. A run's outputs always go out before its result, which has a topic of its own.
 */
import type { Message, MessageBus } from '../../events/bus/message-bus.js';
import type { JsonObject } from '../../events/contract/index.js';
import type { Scheduler } from '../../platform/scheduler.js';

/** Tries of one publication; then it is logged and lost. A run whose texts were lost is reported as failed, so that nobody pays for them. */
const PUBLISH_TRIES_MAX = 5;

/** First pause before a publication is tried again; doubles. */
const PUBLISH_RETRY_DELAY_MS = 20;

/** Runs remembered for their losses. Those that fail or are tried again never say a last word, so the oldest are forgotten. */
const RUNS_WITH_LOSSES_MAX = 10_000;

export type OutboxOptions = {
  readonly bus: MessageBus;
  readonly scheduler: Scheduler;
  /** Published when the turn's other topics have been. */
  readonly lastTopic: string;
  /** What is said on the last topic instead of `message`, when earlier messages of its run were lost. */
  readonly afterLoss: (message: Message) => Message;
  readonly onError: (error: unknown) => void;
};

export class Outbox {
  readonly #options: OutboxOptions;
  /** Called right before a turn's messages go out; adds what has been gathered meanwhile. */
  readonly #beforeFlush: () => void;
  #byTopic = new Map<string, Message[]>();
  /** Runs that lost messages and have not said their last. */
  readonly #runsWithLosses = new Set<string>();
  #isFlushDue = false;
  #publishing: Promise<void> = Promise.resolve();

  constructor(options: OutboxOptions, beforeFlush: () => void) {
    this.#options = options;
    this.#beforeFlush = beforeFlush;
  }

  put(topic: string, message: Message): void {
    const messages = this.#byTopic.get(topic);
    if (messages === undefined) this.#byTopic.set(topic, [message]);
    else messages.push(message);
    this.flushSoon();
  }

  flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    this.#options.scheduler.defer(() => {
      this.#beforeFlush();
      this.#isFlushDue = false;
      const batch = this.#byTopic;
      this.#byTopic = new Map();
      // One turn after the other: a result must not overtake the outputs of an earlier turn.
      this.#publishing = this.#publishing.then(() => this.#publish(batch));
    });
  }

  /** Resolves when everything put so far has gone out. */
  async settled(): Promise<void> {
    while (this.#isFlushDue) await new Promise<void>((resume) => this.#options.scheduler.defer(resume));
    await this.#publishing;
  }

  async #publish(batch: ReadonlyMap<string, readonly Message[]>): Promise<void> {
    const { lastTopic } = this.#options;
    const earlier: Promise<void>[] = [];
    for (const [topic, messages] of batch) if (topic !== lastTopic) earlier.push(this.#publishTexts(topic, messages));
    await Promise.all(earlier);
    const last = batch.get(lastTopic);
    if (last !== undefined)
      await this.#publishTo(
        lastTopic,
        last.map((message) => this.#lastWordOf(message)),
      );
  }

  async #publishTexts(topic: string, messages: readonly Message[]): Promise<void> {
    if (await this.#publishTo(topic, messages)) return;
    for (const { value } of messages) this.#noteLoss(runIdIn(value));
  }

  #noteLoss(runId: string): void {
    const runs = this.#runsWithLosses;
    runs.delete(runId);
    runs.add(runId);
    const [oldest] = runs;
    if (runs.size > RUNS_WITH_LOSSES_MAX && oldest !== undefined) runs.delete(oldest);
  }

  #lastWordOf(message: Message): Message {
    return this.#runsWithLosses.delete(runIdIn(message.value)) ? this.#options.afterLoss(message) : message;
  }

  /** Whether the bus has taken the messages. */
  async #publishTo(topic: string, messages: readonly Message[]): Promise<boolean> {
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#options.bus.publish(topic, messages);
        return true;
      } catch (error) {
        this.#options.onError(error);
        if (tries === PUBLISH_TRIES_MAX) return false;
        await new Promise<void>((resume) => this.#options.scheduler.delay(resume, PUBLISH_RETRY_DELAY_MS * 2 ** (tries - 1)));
      }
    }
  }
}

function runIdIn(value: JsonObject): string {
  return String(value['runId']);
}
