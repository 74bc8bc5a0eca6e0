/** A first-in first-out queue of messages. Taking from the front moves an index instead of the messages behind it. */
import type { Message } from '../message-bus.js';

/** Taken messages are let go of once there are this many of them and they outnumber the waiting ones. */
const TAKEN_MAX = 1_024;

export class MessageQueue {
  #messages: Message[] = [];
  #taken = 0;

  get length(): number {
    return this.#messages.length - this.#taken;
  }

  push(message: Message): void {
    this.#messages.push(message);
  }

  /** The next messages, at most `max` of them. */
  take(max: number): readonly Message[] {
    if (this.length <= max) return this.takeAll();
    const batch = this.#messages.slice(this.#taken, this.#taken + max);
    this.#taken += max;
    if (this.#taken > TAKEN_MAX && this.#taken > this.length) {
      this.#messages = this.#messages.slice(this.#taken);
      this.#taken = 0;
    }
    return batch;
  }

  takeAll(): readonly Message[] {
    const all = this.#taken === 0 ? this.#messages : this.#messages.slice(this.#taken);
    this.#messages = [];
    this.#taken = 0;
    return all;
  }

  /** Puts messages before everything that waits. */
  putBack(messages: readonly Message[]): void {
    this.#messages = [...messages, ...this.#messages.slice(this.#taken)];
    this.#taken = 0;
  }
}
