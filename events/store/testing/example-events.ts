/** Events and streams that no other test has. */
import { randomUUID } from 'node:crypto';
import type { JsonObject, NewEvent } from '../../contract/envelope.js';

/** A fresh event with `data`. */
export function newEvent(data: JsonObject = {}): NewEvent {
  return {
    id: randomUUID(),
    type: 'ThingHappened',
    version: 1,
    data,
    metadata: { commandId: randomUUID(), occurredAtMs: 1_764_000_000_000 },
  };
}

export function newEvents(count: number): NewEvent[] {
  return Array.from({ length: count }, (_, index) => newEvent({ index }));
}

export function freshStream(): string {
  return `contract-${randomUUID()}`;
}
