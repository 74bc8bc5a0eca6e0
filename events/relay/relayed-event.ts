/**
 * How a stored event travels on the bus and back. Headers carry what identifies and orders it; the value is its body, by reference, so that
 * nothing is copied on a bus inside the process.
 */
import type { Message } from '../bus/message-bus.js';
import { accountIdOfStream, type EventMetadata, type JsonObject, paymentIdOfStream, type RecordedEvent } from '../contract/index.js';

/** The value of a relayed message. */
export type RelayedEvent = {
  readonly version: number;
  readonly data: JsonObject;
  readonly metadata: EventMetadata;
};

/** The message for an event of an account or a payment; `null` for other streams, which have no readers on this topic. */
export function messageOfEvent(event: RecordedEvent): Message | null {
  const key = accountIdOfStream(event.stream) ?? paymentIdOfStream(event.stream);
  if (key === null) return null;
  const value: RelayedEvent = { version: event.version, data: event.data, metadata: event.metadata };
  return {
    key,
    type: event.type,
    headers: { 'event-id': event.id, stream: event.stream, revision: String(event.revision), position: event.position },
    value,
  };
}

/** A relayed message that lacks what every relayed event carries. */
export class MalformedRelayedEventError extends Error {
  override readonly name = 'MalformedRelayedEventError';
}

const REVISION_PATTERN = /^\d{1,15}$/;

/** The event as the store holds it. Throws `MalformedRelayedEventError`. */
export function eventOfMessage(message: Message): RecordedEvent {
  const { 'event-id': id, stream, revision, position } = message.headers;
  const { version, data, metadata } = message.value as Partial<RelayedEvent>;
  const isWhole =
    id && stream && revision && REVISION_PATTERN.test(revision) && position && typeof version === 'number' && data && metadata;
  if (!isWhole) throw new MalformedRelayedEventError(`message ${message.type} of ${message.key} is not a relayed event`);
  return { id, stream, revision: Number(revision), position, type: message.type, version, data, metadata };
}
