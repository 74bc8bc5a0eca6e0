/** The bounds of the EventStore port, enforced alike by every adapter. A breach is a bug of the caller and throws `RangeError`. */
import { APPEND_EVENTS_MAX, APPEND_STREAMS_MAX, NO_STREAM, READ_EVENTS_MAX, type StreamAppend } from './event-store.js';

/** Longer than any stream name the contract makes; keeps index entries far below a database page. */
export const STREAM_NAME_LENGTH_MAX = 200;

/** Events handed to a subscriber at once unless it asks otherwise. */
export const SUBSCRIBE_BATCH_DEFAULT = 1_000;

/** Event types are identifiers; adapters pack them into separated lists and need no escaping. */
const EVENT_TYPE = /^[A-Za-z][A-Za-z0-9_.-]{0,79}$/;
const EVENT_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** Printable ASCII without space: safe in every store's stream names and in separated lists. */
const STREAM_NAME = /^[!-~]+$/;

/** Throws `RangeError` unless every append is within the port's bounds and no stream occurs twice. */
export function checkAppends(appends: readonly StreamAppend[]): void {
  if (appends.length > APPEND_STREAMS_MAX) throw new RangeError(`append to ${appends.length} streams; at most ${APPEND_STREAMS_MAX}`);
  const streams = new Set<string>();
  for (const append of appends) {
    checkStreamName(append.stream);
    if (streams.has(append.stream)) throw new RangeError(`stream ${append.stream} occurs twice in one append`);
    streams.add(append.stream);
    if (!Number.isSafeInteger(append.expectedRevision) || append.expectedRevision < NO_STREAM) {
      throw new RangeError(`expected revision ${append.expectedRevision} of ${append.stream} is no revision`);
    }
    const count = append.events.length;
    if (count < 1 || count > APPEND_EVENTS_MAX) throw new RangeError(`append of ${count} events; 1 to ${APPEND_EVENTS_MAX} are allowed`);
    for (const event of append.events) {
      if (!EVENT_ID.test(event.id)) throw new RangeError(`event id ${event.id} is no lower-case UUID`);
      if (!EVENT_TYPE.test(event.type)) throw new RangeError(`event type ${event.type} is no identifier`);
      if (!Number.isSafeInteger(event.version) || event.version < 0 || event.version > 32_767) {
        throw new RangeError(`event version ${event.version} is out of range`);
      }
    }
  }
}

export function checkStreamName(stream: string): void {
  if (stream.length > STREAM_NAME_LENGTH_MAX || !STREAM_NAME.test(stream)) {
    throw new RangeError(`stream name must be 1 to ${STREAM_NAME_LENGTH_MAX} printable ASCII characters`);
  }
}

/** Returns `maxCount` or the port's default. */
export function checkReadCount(maxCount: number = READ_EVENTS_MAX): number {
  if (!Number.isSafeInteger(maxCount) || maxCount < 1 || maxCount > READ_EVENTS_MAX) {
    throw new RangeError(`read of ${maxCount} events; 1 to ${READ_EVENTS_MAX} are allowed`);
  }
  return maxCount;
}

export function checkRevision(revision: number): number {
  if (!Number.isSafeInteger(revision) || revision < 0) throw new RangeError(`${revision} is no revision`);
  return revision;
}
