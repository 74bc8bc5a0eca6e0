/**
 * The MessageBus inside one process: ordered, at least once, bounded, volatile. It carries every token of every stream, so a message costs an
 * array push; messages are handed over by reference and nobody changes them.
 *
 * It behaves like Kafka as far as its readers can tell, with two differences that follow from being volatile: a topic without any group
 * drops what is published to it (Kafka retains), and a restart forgets what was waiting, so that whoever publishes from a durable source
 * must begin where the readers durably are (see the relay's checkpoint).
 *
 * Nothing here runs inside `publish`: delivery waits for the scheduler's next turn, and every pause goes through the scheduler too, so a
 * simulation decides when each batch arrives.
 */
import type { Scheduler } from '../../../platform/scheduler.js';
import { BusFullError, type BusSubscription, type Message, type MessageBus, type SubscribeOptions } from '../message-bus.js';
import { SubscriberGroup } from './subscriber-group.js';

/** Messages waiting for one group of a topic. A slow reader makes publishers wait or refuse rather than fill the memory. */
export const GROUP_QUEUE_MAX = 100_000;

export type InProcessBusOptions = {
  readonly scheduler: Scheduler;
  /** Bound of one group's queue for a topic, where it differs from `GROUP_QUEUE_MAX`. */
  readonly queueMax?: (topic: string) => number | undefined;
};

type Topic = {
  readonly queueMax: number;
  readonly groups: Map<string, SubscriberGroup>;
};

const ACCEPTED: Promise<void> = Promise.resolve();

export class InProcessBus implements MessageBus {
  readonly #options: InProcessBusOptions;
  readonly #topics = new Map<string, Topic>();
  #isClosed = false;

  constructor(options: InProcessBusOptions) {
    this.#options = options;
  }

  publish(topic: string, messages: readonly Message[]): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    const known = this.#topics.get(topic);
    if (known === undefined) return ACCEPTED;
    for (const [name, group] of known.groups) {
      // All groups or none: a message that only some of them got could not be published again safely.
      if (group.waiting + messages.length > known.queueMax) {
        return Promise.reject(
          new BusFullError(`topic ${topic} holds ${group.waiting} of at most ${known.queueMax} messages for group ${name}`),
        );
      }
    }
    for (const group of known.groups.values()) group.push(messages);
    return ACCEPTED;
  }

  subscribe(options: SubscribeOptions): Promise<BusSubscription> {
    if (this.#isClosed) return Promise.reject(closedError());
    return Promise.resolve(this.#groupOf(options.topic, options.group).join(options));
  }

  isReady(): Promise<boolean> {
    return Promise.resolve(!this.#isClosed);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const groups = [...this.#topics.values()].flatMap((topic) => [...topic.groups.values()]);
    await Promise.all(groups.map((group) => group.close()));
    this.#topics.clear();
  }

  /** Messages that wait for a group or are being handled; for gauges. */
  waiting(topic: string, groupName: string): number {
    return this.#topics.get(topic)?.groups.get(groupName)?.waiting ?? 0;
  }

  #groupOf(name: string, groupName: string): SubscriberGroup {
    let topic = this.#topics.get(name);
    if (topic === undefined) {
      topic = { queueMax: this.#options.queueMax?.(name) ?? GROUP_QUEUE_MAX, groups: new Map() };
      this.#topics.set(name, topic);
    }
    let group = topic.groups.get(groupName);
    if (group === undefined) {
      group = new SubscriberGroup(this.#options.scheduler);
      topic.groups.set(groupName, group);
    }
    return group;
  }
}

function closedError(): Error {
  return new Error('the bus is closed');
}
