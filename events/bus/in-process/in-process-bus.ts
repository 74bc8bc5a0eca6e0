/**
 * The MessageBus inside one process: ordered, at least once, bounded, volatile. It carries every token of every stream, so a message costs an
 * array push; values are handed over by reference and nobody changes them.
 *
 * Each topic behaves like a Kafka topic of one partition: one member of a group is active and the others stand by; what a stopped member
 * had not handled goes to the next one, in order. A topic without any group drops what is published to it, since there is no retention here.
 */
import type { Scheduler } from '../../../platform/scheduler.js';
import { BusFullError, type BusSubscription, type Message, type MessageBus, type SubscribeOptions } from '../message-bus.js';

/** Messages waiting for one group of a topic. A slow reader makes publishers wait or refuse rather than fill the memory. */
export const GROUP_QUEUE_MAX = 100_000;

/** Messages handed over at once unless the subscriber says otherwise. */
export const BATCH_DEFAULT_MAX = 500;

/** First pause before a failed batch is delivered again; doubles up to the maximum. */
export const REDELIVERY_DELAY_MS = 10;
export const REDELIVERY_DELAY_MAX_MS = 1_000;

export type InProcessBusOptions = {
  readonly scheduler: Scheduler;
  /** Bound of one group's queue for a topic, where it differs from `GROUP_QUEUE_MAX`. */
  readonly queueMax?: (topic: string) => number | undefined;
};

type Member = { readonly options: SubscribeOptions };

/**
 *     idle ──publish──▶ scheduled ──▶ handling ──▶ idle (queue empty)
 *                           ▲            │ handler rejected
 *                           └─ delay ── backing off
 */
type Group = {
  readonly members: Member[];
  queue: Message[];
  /** Delivered and not yet handled; goes before `queue`. */
  current: readonly Message[];
  deliveries: number;
  state: 'idle' | 'scheduled' | 'handling' | 'backing_off';
  /** Told when the handler that runs has ended. */
  readonly onHandled: (() => void)[];
};

export class InProcessBus implements MessageBus {
  readonly #options: InProcessBusOptions;
  readonly #topics = new Map<string, Map<string, Group>>();
  #isClosed = false;

  constructor(options: InProcessBusOptions) {
    this.#options = options;
  }

  publish(topic: string, messages: readonly Message[]): Promise<void> {
    if (this.#isClosed) return Promise.reject(new Error('the bus is closed'));
    const groups = this.#topics.get(topic);
    if (groups === undefined) return Promise.resolve();
    const queueMax = this.#options.queueMax?.(topic) ?? GROUP_QUEUE_MAX;
    for (const group of groups.values()) {
      // All groups or none: a message that only some of them got could not be published again safely.
      if (waitingIn(group) + messages.length > queueMax) {
        return Promise.reject(new BusFullError(`topic ${topic} already holds ${waitingIn(group)} messages`));
      }
    }
    for (const group of groups.values()) {
      for (const message of messages) group.queue.push(message);
      this.#wake(group);
    }
    return Promise.resolve();
  }

  subscribe(options: SubscribeOptions): Promise<BusSubscription> {
    if (this.#isClosed) return Promise.reject(new Error('the bus is closed'));
    const member: Member = { options };
    const group = this.#groupOf(options.topic, options.group);
    group.members.push(member);
    this.#wake(group);
    return Promise.resolve({ stop: () => this.#remove(member, group) });
  }

  isReady(): Promise<boolean> {
    return Promise.resolve(!this.#isClosed);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const removals: Promise<void>[] = [];
    for (const groups of this.#topics.values()) {
      for (const group of groups.values()) for (const member of [...group.members]) removals.push(this.#remove(member, group));
    }
    await Promise.all(removals);
  }

  /** Messages that wait for a group or are being handled; for gauges. */
  waiting(topic: string, groupName: string): number {
    const group = this.#topics.get(topic)?.get(groupName);
    return group === undefined ? 0 : waitingIn(group);
  }

  #groupOf(topic: string, name: string): Group {
    let groups = this.#topics.get(topic);
    if (groups === undefined) {
      groups = new Map();
      this.#topics.set(topic, groups);
    }
    let group = groups.get(name);
    if (group === undefined) {
      group = { members: [], queue: [], current: [], deliveries: 0, state: 'idle', onHandled: [] };
      groups.set(name, group);
    }
    return group;
  }

  #wake(group: Group): void {
    if (group.state !== 'idle' || group.members.length === 0 || waitingIn(group) === 0) return;
    group.state = 'scheduled';
    this.#options.scheduler.defer(() => void this.#deliver(group));
  }

  /** Hands over batches until nothing waits; the next batch waits for the handler. */
  async #deliver(group: Group): Promise<void> {
    for (;;) {
      const options = group.members[0]?.options;
      if (options === undefined || waitingIn(group) === 0) {
        group.state = 'idle';
        return;
      }
      if (group.current.length === 0) {
        group.current = takeBatch(group, options.batchMax ?? BATCH_DEFAULT_MAX);
        group.deliveries = 0;
      }
      group.deliveries += 1;
      group.state = 'handling';
      const isHandled = await this.#hand(group, options);
      for (const told of group.onHandled.splice(0)) told();
      if (isHandled) {
        group.current = [];
        continue;
      }
      group.state = 'backing_off';
      const delayMs = Math.min(REDELIVERY_DELAY_MS * 2 ** (group.deliveries - 1), REDELIVERY_DELAY_MAX_MS);
      this.#options.scheduler.delay(() => void this.#deliver(group), delayMs);
      return;
    }
  }

  /** Whether the batch needs no further delivery: handled, or poison that has been reported. */
  async #hand(group: Group, options: SubscribeOptions): Promise<boolean> {
    try {
      const handled = options.onMessages(group.current);
      if (handled !== undefined) await handled;
      return true;
    } catch (error) {
      options.onError?.(error);
      if (group.deliveries < (options.attemptsMax ?? Number.POSITIVE_INFINITY)) return false;
      options.onPoison?.(group.current, error);
      return true;
    }
  }

  async #remove(member: Member, group: Group): Promise<void> {
    const index = group.members.indexOf(member);
    if (index < 0) return;
    group.members.splice(index, 1);
    const isHandling = index === 0 && group.state === 'handling';
    if (isHandling) await new Promise<void>((resolve) => group.onHandled.push(resolve));
  }
}

function waitingIn(group: Group): number {
  return group.current.length + group.queue.length;
}

function takeBatch(group: Group, batchMax: number): readonly Message[] {
  if (group.queue.length > batchMax) return group.queue.splice(0, batchMax);
  const all = group.queue;
  group.queue = [];
  return all;
}
