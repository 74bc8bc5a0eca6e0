/**
 * Read of the Streams service: streams and `$all`, both ways, filtered, once or as a subscription. A read forwards from a position of `$all`
 * includes the event there, backwards it begins before it; a subscription from a position or revision begins behind it.
 */
import { randomUUID } from 'node:crypto';
import type { ReadReq, ReadResp } from '@eventstore/db-client/generated/streams_pb.js';
import streams from '@eventstore/db-client/generated/streams_pb.js';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { exceptionOf } from './append-service.js';
import type { Gate } from './gate.js';
import { eventMessageOf, identifierOf, streamNameOf } from './messages.js';
import type { StoredEvent, StoredLog } from './stored-log.js';

type Call = ServerWritableStream<ReadReq, ReadResp>;
type Place = { readonly commit: number; readonly prepare: number };

const BACKWARDS = 1;
/** Events a filtered read looks at between checkpoints, where the client names no other window. */
const SEARCH_WINDOW_DEFAULT = 32;

let sent = 0;

/** Events handed to the transport for subscriptions, since the start. */
export function sentToSubscribers(): number {
  return sent;
}

export function readHandler(log: StoredLog, gate: Gate) {
  return (call: Call): void => {
    call.on('error', () => {});
    gate.toWork(() => {
      const options = call.request.getOptions();
      if (!gate.mayAnswer() || options === undefined) return;
      if (options.hasSubscription()) subscribe(log, gate, call, options).catch(() => call.end());
      else readOnce(log, call, options).catch(() => call.end());
    });
  };
}

async function readOnce(log: StoredLog, call: Call, options: ReadReq.Options): Promise<void> {
  const isBackwards = options.getReadDirection() === BACKWARDS;
  const limit = Number(options.getCount());
  const accepts = filterOf(options);
  let left = limit;
  const source = options.hasAll() ? fromAll(log, options, isBackwards) : fromStream(log, options, isBackwards);
  if (source === 'deleted') {
    call.emit('error', exceptionOf({ status: 'stream_deleted' }, streamNameOf(options.getStream()?.getStreamIdentifier())));
    return;
  }
  if (source === null) {
    const identifier = identifierOf(streamNameOf(options.getStream()?.getStreamIdentifier()));
    call.write(new streams.ReadResp().setStreamNotFound(new streams.ReadResp.StreamNotFound().setStreamIdentifier(identifier)));
    call.end();
    return;
  }
  for (const event of source) {
    if (left === 0 || call.cancelled) break;
    if (!accepts(event)) continue;
    left -= 1;
    await send(call, eventMessageOf(event));
  }
  call.end();
}

function* fromAll(log: StoredLog, options: ReadReq.Options, isBackwards: boolean): Generator<StoredEvent> {
  const all = options.getAll();
  const place = placeOf(all?.getPosition());
  const { events } = log;
  if (isBackwards) {
    let index = events.length - 1;
    if (place !== null) index = firstNotBefore(events, place) - 1;
    else if (all?.hasStart() === true) index = -1;
    for (; index >= 0; index -= 1) yield events[index] as StoredEvent;
    return;
  }
  let index = 0;
  if (place !== null) index = firstNotBefore(events, place);
  else if (all?.hasEnd() === true) index = events.length;
  const end = events.length;
  for (; index < end; index += 1) yield events[index] as StoredEvent;
}

function fromStream(log: StoredLog, options: ReadReq.Options, isBackwards: boolean): StoredEvent[] | null | 'deleted' {
  const wanted = options.getStream();
  const name = streamNameOf(wanted?.getStreamIdentifier());
  if (log.isTombstoned(name)) return 'deleted';
  const events = log.readable(name);
  if (events === null) return null;
  const revision = wanted?.hasRevision() === true ? Number(wanted.getRevision()) : null;
  if (isBackwards) return events.filter((event) => revision === null || event.revision <= revision).reverse();
  if (wanted?.hasEnd() === true) return [];
  return events.filter((event) => revision === null || event.revision >= revision);
}

async function subscribe(log: StoredLog, gate: Gate, call: Call, options: ReadReq.Options): Promise<void> {
  let wake = () => {};
  const stopListening = log.onAppended(() => wake());
  const end = () => {
    stopListening();
    wake();
  };
  call.on('cancelled', end);
  call.on('close', end);
  const accepts = filterOf(options);
  const filter = options.getFilter();
  const window = filter?.hasMax() === true ? filter.getMax() : SEARCH_WINDOW_DEFAULT;
  const checkpointEvery = filter === undefined ? null : window * Math.max(1, filter.getCheckpointintervalmultiplier());
  let index = subscriptionStart(log, options);
  let looked = 0;
  await send(call, new streams.ReadResp().setConfirmation(new streams.ReadResp.SubscriptionConfirmation().setSubscriptionId(randomUUID())));
  while (!call.cancelled) {
    const event = log.events[index];
    if (event === undefined) {
      await new Promise<void>((resume) => {
        wake = resume;
        if (index < log.events.length || call.cancelled) resume();
      });
      continue;
    }
    index += 1;
    if (!gate.mayAnswer()) await new Promise<void>((resume) => gate.toWork(resume));
    if (accepts(event)) {
      await send(call, eventMessageOf(event));
      sent += 1;
    }
    looked += 1;
    if (checkpointEvery !== null && looked % checkpointEvery === 0) {
      const checkpoint = new streams.ReadResp.Checkpoint().setCommitPosition(String(event.commit));
      await send(call, new streams.ReadResp().setCheckpoint(checkpoint.setPreparePosition(String(event.prepare))));
    }
  }
  stopListening();
}

/** Index in the log of the first event behind the place that was asked for. */
function subscriptionStart(log: StoredLog, options: ReadReq.Options): number {
  const { events } = log;
  const all = options.getAll();
  if (all !== undefined) {
    if (all.hasEnd()) return events.length;
    const place = placeOf(all.getPosition());
    if (place === null) return 0;
    const index = firstNotBefore(events, place);
    const at = events[index];
    return at !== undefined && at.commit === place.commit && at.prepare === place.prepare ? index + 1 : index;
  }
  const wanted = options.getStream();
  const name = streamNameOf(wanted?.getStreamIdentifier());
  if (wanted?.hasEnd() === true) return events.length;
  if (wanted?.hasRevision() !== true) return 0;
  const revision = Number(wanted.getRevision());
  const index = events.findIndex((event) => event.stream === name && event.revision > revision);
  return index < 0 ? events.length : index;
}

function filterOf(options: ReadReq.Options): (event: StoredEvent) => boolean {
  const wanted = options.getStream();
  if (wanted !== undefined) {
    const name = streamNameOf(wanted.getStreamIdentifier());
    return (event) => event.stream === name;
  }
  const filter = options.getFilter();
  const expression = filter?.getEventType() ?? filter?.getStreamIdentifier();
  if (filter === undefined || expression === undefined) return () => true;
  const textOf = filter.hasEventType() ? (event: StoredEvent) => event.type : (event: StoredEvent) => event.stream;
  const prefixes = expression.getPrefixList();
  if (prefixes.length > 0) return (event) => prefixes.some((prefix) => textOf(event).startsWith(prefix));
  const regex = new RegExp(expression.getRegex());
  return (event) => regex.test(textOf(event));
}

function placeOf(position: ReadReq.Options.Position | undefined): Place | null {
  if (position === undefined) return null;
  return { commit: Number(position.getCommitPosition()), prepare: Number(position.getPreparePosition()) };
}

/** Index of the first event at or after `place`. */
function firstNotBefore(events: readonly StoredEvent[], place: Place): number {
  let low = 0;
  let high = events.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const event = events[middle] as StoredEvent;
    const isBefore = event.commit < place.commit || (event.commit === place.commit && event.prepare < place.prepare);
    if (isBefore) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Waits while the reader is slow. */
function send(call: Call, message: ReadResp): Promise<void> | void {
  if (call.write(message)) return;
  return new Promise((resume) => {
    const go = () => {
      call.off('drain', go);
      call.off('cancelled', go);
      resume();
    };
    call.on('drain', go);
    call.on('cancelled', go);
  });
}
