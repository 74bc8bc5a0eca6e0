/**
 * Writes server-sent events to one response: at most one write per turn of the event loop, and bounded memory when the reader is slow.
 * While the socket does not take more, parts are gathered into one an answer; beyond the bound the reader is given up.
 */
import type { ServerResponse } from 'node:http';
import type { Scheduler } from '../../../platform/scheduler.js';
import type { AnswerPart } from './billed-run.js';
import { GatheredOutput } from './gathered-output.js';

/** Bytes that may wait for a slow reader, in the socket's queue and here together. */
export const STREAM_BACKLOG_BYTES_MAX = 262_144;

export type StreamWriterOptions = {
  readonly response: ServerResponse;
  readonly scheduler: Scheduler;
  /** Called before the first byte: writes the head and returns the opening events. */
  readonly open: () => string;
  /** Turns part of an answer into events. */
  readonly partEvents: (part: AnswerPart) => string;
  /** The reader does not keep up; the response has been destroyed. */
  readonly onTooSlow: () => void;
};

export class StreamWriter {
  readonly #options: StreamWriterOptions;
  #opened = false;
  #ended = false;
  #flushing = false;
  #blocked = false;
  #handedIn = 0;
  /** Finished events not written yet. */
  #events = '';
  /** Gathered while the socket was full, not events yet. */
  readonly #held = new GatheredOutput();

  constructor(options: StreamWriterOptions) {
    this.#options = options;
    options.response.on('drain', () => {
      this.#blocked = false;
      this.#flush();
    });
  }

  /** Counts what was handed in, to notice silence. */
  get eventsWritten(): number {
    return this.#handedIn;
  }

  /** Whether the head has been sent; after that an error can only be an event. */
  get isOpen(): boolean {
    return this.#opened;
  }

  part(part: AnswerPart): void {
    if (this.#ended) return;
    this.#handedIn += 1;
    if (this.#blocked) this.#held.add(part);
    else this.#events += this.#options.partEvents(part);
    this.#scheduleFlush();
  }

  /** A finished event, comment or group of them. */
  event(event: string): void {
    if (this.#ended) return;
    this.#handedIn += 1;
    this.#releaseHeld();
    this.#events += event;
    this.#scheduleFlush();
  }

  /** Writes what is left and ends the response, whatever its backlog: nothing more can be added to it. */
  end(lastEvents: string): void {
    if (this.#ended) return;
    this.#ended = true;
    const { response } = this.#options;
    if (response.destroyed) return;
    this.#openOnce();
    this.#releaseHeld();
    response.end(this.#events + lastEvents);
    this.#events = '';
  }

  /** Writes nothing more; for a client that is gone. */
  abandon(): void {
    this.#ended = true;
    this.#events = '';
    this.#held.take();
  }

  #scheduleFlush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    this.#options.scheduler.defer(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    const { response } = this.#options;
    if (this.#ended || response.destroyed) return;
    if (this.#blocked) {
      // Characters stand for bytes: the bound is about memory, where a string takes one or two bytes a character.
      const backlog = response.writableLength + this.#events.length + this.#held.characters;
      if (backlog > STREAM_BACKLOG_BYTES_MAX) this.#giveUp();
      return;
    }
    this.#releaseHeld();
    if (this.#events === '') return;
    this.#openOnce();
    const events = this.#events;
    this.#events = '';
    this.#blocked = !response.write(events);
  }

  #openOnce(): void {
    if (this.#opened) return;
    this.#opened = true;
    this.#events = this.#options.open() + this.#events;
  }

  #releaseHeld(): void {
    if (this.#held.isEmpty) return;
    for (const part of this.#held.take()) this.#events += this.#options.partEvents(part);
  }

  #giveUp(): void {
    this.abandon();
    this.#options.response.destroy();
    this.#options.onTooSlow();
  }
}
