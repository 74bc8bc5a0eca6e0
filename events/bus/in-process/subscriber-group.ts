/**
 * One subscriber group of an in-process topic: its bounded queue, its members, and what each of them is handling.
 *
 * Every member has a lane of its own; a key always goes to the same lane, so a lane's order is its keys' order and no key is ever handled
 * twice at once. When a member joins or leaves, keys change lanes: what waits is gathered, handlers that run may end, then it is dealt out
 * anew.
 *
 *     idle ──message──▶ scheduled ──▶ handling ──▶ idle, or scheduled when more waits
 *                           ▲            │ handler failed
 *                           └── delay ── backing off
 */
import type { Scheduler } from '../../../platform/scheduler.js';
import type { BusSubscription, Message, SubscribeOptions } from '../message-bus.js';
import { MessageQueue } from './message-queue.js';

/** Messages handed over at once unless the subscriber says otherwise. */
export const BATCH_DEFAULT_MAX = 500;

/** Batches that a handler without I/O may take in one turn of the event loop, so that no topic keeps the loop to itself. */
const BATCHES_PER_TURN_MAX = 8;

/** First pause before a failed batch is delivered again; doubles up to the maximum. */
export const REDELIVERY_DELAY_MS = 10;
export const REDELIVERY_DELAY_MAX_MS = 1_000;

type Lane = {
  readonly options: SubscribeOptions;
  readonly queue: MessageQueue;
  /** Delivered and not yet handled; goes before `queue`. */
  current: readonly Message[];
  /** How often `current` has been delivered. */
  deliveries: number;
  state: 'idle' | 'scheduled' | 'handling' | 'backing_off';
  cancelBackoff: () => void;
  /** Told when the handler that runs has ended. */
  readonly onHandled: (() => void)[];
};

export class SubscriberGroup {
  readonly #scheduler: Scheduler;
  readonly #lanes: Lane[] = [];
  /** What waits while nobody is subscribed, or while keys change lanes. */
  readonly #unassigned = new MessageQueue();
  #isDealtOut = false;
  #waiting = 0;
  /** Handlers that run, those of members that are leaving included. */
  #handlers = 0;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  /** Messages that wait or are being handled. */
  get waiting(): number {
    return this.#waiting;
  }

  push(messages: readonly Message[]): void {
    this.#waiting += messages.length;
    if (!this.#isDealtOut) {
      for (const message of messages) this.#unassigned.push(message);
      return;
    }
    this.#assign(messages);
  }

  join(options: SubscribeOptions): BusSubscription {
    const lane: Lane = {
      options,
      queue: new MessageQueue(),
      current: [],
      deliveries: 0,
      state: 'idle',
      cancelBackoff: () => {},
      onHandled: [],
    };
    this.#gather();
    this.#lanes.push(lane);
    this.#dealOut();
    return { stop: () => this.#leave(lane) };
  }

  /** Stops every member. What waits is forgotten with the group. */
  async close(): Promise<void> {
    await Promise.all([...this.#lanes].map((lane) => this.#leave(lane)));
  }

  async #leave(lane: Lane): Promise<void> {
    const index = this.#lanes.indexOf(lane);
    if (index >= 0) {
      this.#gather();
      this.#lanes.splice(index, 1);
      this.#dealOut();
    }
    if (lane.state === 'handling') await new Promise<void>((resolve) => lane.onHandled.push(resolve));
  }

  /** Takes back what nobody handles at this moment, keeping each key's order. */
  #gather(): void {
    if (!this.#isDealtOut) return;
    this.#isDealtOut = false;
    for (const lane of this.#lanes) {
      const isHandling = lane.state === 'handling';
      for (const message of isHandling ? [] : lane.current) this.#unassigned.push(message);
      for (const message of lane.queue.takeAll()) this.#unassigned.push(message);
      if (isHandling) continue;
      lane.cancelBackoff();
      lane.current = [];
      lane.state = 'idle';
    }
  }

  /** Gives what was gathered to the lanes as they are now, as soon as no handler of the old arrangement runs. */
  #dealOut(): void {
    if (this.#isDealtOut || this.#handlers > 0 || this.#lanes.length === 0) return;
    this.#isDealtOut = true;
    this.#assign(this.#unassigned.takeAll());
  }

  #assign(messages: readonly Message[]): void {
    const only = this.#lanes.length === 1 ? this.#lanes[0] : undefined;
    for (const message of messages) (only ?? this.#laneOf(message.key)).queue.push(message);
    for (const lane of this.#lanes) this.#wake(lane);
  }

  #laneOf(key: string): Lane {
    return this.#lanes[hashOf(key) % this.#lanes.length] as Lane;
  }

  #wake(lane: Lane): void {
    if (lane.state !== 'idle' || lane.current.length + lane.queue.length === 0) return;
    lane.state = 'scheduled';
    this.#scheduler.defer(() => this.#deliver(lane));
  }

  #deliver(lane: Lane): void {
    if (lane.state !== 'scheduled') return;
    lane.state = 'idle';
    for (let batches = 0; batches < BATCHES_PER_TURN_MAX && this.#handOver(lane); batches += 1);
    this.#wake(lane);
  }

  /** Hands over one batch. Whether it was handled at once, so that another may follow in the same turn. */
  #handOver(lane: Lane): boolean {
    if (lane.current.length === 0) {
      lane.current = lane.queue.take(lane.options.batchMax ?? BATCH_DEFAULT_MAX);
      lane.deliveries = 0;
    }
    if (lane.current.length === 0) return false;
    lane.deliveries += 1;
    lane.state = 'handling';
    this.#handlers += 1;
    let handling: Promise<void> | void;
    try {
      handling = lane.options.onMessages(lane.current);
    } catch (error) {
      this.#onFailed(lane, error);
      return false;
    }
    if (handling === undefined) {
      this.#onHandled(lane);
      return true;
    }
    Promise.resolve(handling).then(
      () => {
        this.#onHandled(lane);
        this.#wake(lane);
      },
      (error: unknown) => this.#onFailed(lane, error),
    );
    return false;
  }

  #onHandled(lane: Lane): void {
    this.#waiting -= lane.current.length;
    lane.current = [];
    lane.state = 'idle';
    this.#afterHandler(lane);
  }

  #onFailed(lane: Lane, error: unknown): void {
    const { options } = lane;
    tell(() => options.onError?.(error));
    // A report of poison that fails itself has not happened, and the batch is tried again.
    const isPoison = lane.deliveries >= (options.attemptsMax ?? Number.POSITIVE_INFINITY);
    if (isPoison && tell(() => options.onPoison?.(lane.current, error))) {
      this.#onHandled(lane);
      this.#wake(lane);
      return;
    }
    if (!this.#isDealtOut) {
      this.#unassigned.putBack(lane.current);
      lane.current = [];
      lane.state = 'idle';
    } else {
      lane.state = 'backing_off';
      const delayMs = Math.min(REDELIVERY_DELAY_MS * 2 ** (lane.deliveries - 1), REDELIVERY_DELAY_MAX_MS);
      lane.cancelBackoff = this.#scheduler.delay(() => {
        if (lane.state !== 'backing_off') return;
        lane.state = 'idle';
        this.#wake(lane);
      }, delayMs);
    }
    this.#afterHandler(lane);
  }

  #afterHandler(lane: Lane): void {
    this.#handlers -= 1;
    for (const told of lane.onHandled.splice(0)) told();
    this.#dealOut();
  }
}

/** Whether the listener took it. One that throws must not stop the queue. */
function tell(listener: () => void): boolean {
  try {
    listener();
    return true;
  } catch {
    return false;
  }
}

/** FNV-1a over UTF-16 units: even, cheap, and the same in every run. */
function hashOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < key.length; index += 1) hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193);
  return hash >>> 0;
}
