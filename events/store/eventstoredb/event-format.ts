/**
 * How an event of ours looks in EventStoreDB, and back.
 *
 * The server takes an append for a retry when the event ids agree, whatever else the events say. Two ledgers that end one run differently
 * make the same ids, so the slower one would be told that its own version had been written. Each append call therefore gives its events ids
 * of its own, under which the server recognises the retries of that call and nothing else; the event's own id travels in the metadata, and
 * is looked for there when the revision turns out to be taken.
 */
import { randomUUID } from 'node:crypto';
import { type EventData, jsonEvent, type RecordedEvent as StoredEvent } from '@eventstore/db-client';
import type { EventMetadata, JsonObject, NewEvent, RecordedEvent } from '../../contract/envelope.js';
import { knownPosition } from './position.js';

/** Custom metadata of every event of ours. */
type WireMetadata = { readonly event: { readonly id: string; readonly version: number } } & EventMetadata;

/** Makes an id for this append call. */
export function toWireEvent({ id, type, version, data, metadata }: NewEvent): EventData {
  const wireMetadata: WireMetadata = { event: { id, version }, ...metadata };
  return jsonEvent({ id: randomUUID(), type, data, metadata: wireMetadata });
}

/** `null` for an event that is not ours: written by the server or by another application on the same database. Never throws. */
export function fromWireEvent(stored: StoredEvent | undefined): RecordedEvent | null {
  if (stored === undefined || !stored.isJson || stored.type.startsWith('$') || stored.streamId.startsWith('$')) return null;
  const wireMetadata: unknown = stored.metadata;
  if (!isWireMetadata(wireMetadata) || !isObject(stored.data)) return null;
  const position = knownPosition(stored.position);
  if (position === null) return null;
  const { event, ...metadata } = wireMetadata;
  return {
    id: event.id,
    type: stored.type,
    version: event.version,
    data: stored.data as JsonObject,
    metadata,
    stream: stored.streamId,
    revision: Number(stored.revision),
    position,
  };
}

function isWireMetadata(metadata: unknown): metadata is WireMetadata {
  if (!isObject(metadata) || typeof metadata['commandId'] !== 'string' || typeof metadata['occurredAtMs'] !== 'number') return false;
  const event = metadata['event'];
  return isObject(event) && typeof event['id'] === 'string' && typeof event['version'] === 'number';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
