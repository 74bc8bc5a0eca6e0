/** Between the double's log and the protocol's messages. */

import type { StreamIdentifier, UUID } from '@eventstore/db-client/generated/shared_pb.js';
import shared from '@eventstore/db-client/generated/shared_pb.js';
import type { Status } from '@eventstore/db-client/generated/status_pb.js';
import statusMessages from '@eventstore/db-client/generated/status_pb.js';
import type { AppendReq, BatchAppendReq, ReadResp } from '@eventstore/db-client/generated/streams_pb.js';
import streams from '@eventstore/db-client/generated/streams_pb.js';
import grpcAny from 'google-protobuf/google/protobuf/any_pb.js';
import googleEmpty from 'google-protobuf/google/protobuf/empty_pb.js';
import type { AppendOutcome, Expected, ProposedEvent, StoredEvent } from './stored-log.js';
import { APPEND_SIZE_MAX_BYTES } from './stored-log.js';

/** .NET counts time in 100 nanoseconds; the protocol sends them since the Unix epoch, as a string. */
const TICKS_PER_MS = 10_000n;
const CODE_FAILED_PRECONDITION = 9;
const CODE_INVALID_ARGUMENT = 3;

export function streamNameOf(identifier: StreamIdentifier | undefined): string {
  return Buffer.from(identifier?.getStreamName_asU8() ?? []).toString('utf8');
}

export function identifierOf(stream: string): StreamIdentifier {
  return new shared.StreamIdentifier().setStreamName(Uint8Array.from(Buffer.from(stream)));
}

export function uuidOf(text: string): UUID {
  return new shared.UUID().setString(text);
}

export function proposedEventOf(message: AppendReq.ProposedMessage | BatchAppendReq.ProposedMessage): ProposedEvent {
  const metadata = message.getMetadataMap();
  return {
    id: message.getId()?.getString() ?? '',
    type: metadata.get('type') ?? '',
    contentType: metadata.get('content-type') ?? '',
    body: Buffer.from(message.getData_asU8()),
    customMetadata: Buffer.from(message.getCustomMetadata_asU8()),
  };
}

export function expectedOf(options: AppendReq.Options): Expected {
  if (options.hasNoStream()) return 'no_stream';
  if (options.hasStreamExists()) return 'stream_exists';
  return options.hasRevision() ? Number(options.getRevision()) : 'any';
}

export function expectedOfBatch(options: BatchAppendReq.Options): Expected {
  if (options.hasNoStream()) return 'no_stream';
  if (options.hasStreamExists()) return 'stream_exists';
  return options.hasStreamPosition() ? Number(options.getStreamPosition()) : 'any';
}

export function eventMessageOf(event: StoredEvent): ReadResp {
  const recorded = new streams.ReadResp.ReadEvent.RecordedEvent()
    .setId(uuidOf(event.id))
    .setStreamIdentifier(identifierOf(event.stream))
    .setStreamRevision(String(event.revision))
    .setCommitPosition(String(event.commit))
    .setPreparePosition(String(event.prepare))
    .setData(Uint8Array.from(event.body))
    .setCustomMetadata(Uint8Array.from(event.customMetadata));
  const metadata = recorded.getMetadataMap();
  metadata.set('type', event.type);
  metadata.set('content-type', event.contentType);
  metadata.set('created', (BigInt(event.createdMs) * TICKS_PER_MS).toString());
  const resolved = new streams.ReadResp.ReadEvent().setEvent(recorded).setCommitPosition(String(event.commit));
  return new streams.ReadResp().setEvent(resolved);
}

/** What a batch append answers instead of success. The client reads nothing but the detail, and throws without one. */
export function batchErrorOf(
  outcome: Exclude<AppendOutcome, { status: 'written' | 'idempotent' }>,
  stream: string,
  expected: Expected,
): Status {
  const detail = new grpcAny.Any();
  const status = new statusMessages.Status().setCode(CODE_FAILED_PRECONDITION).setMessage(outcome.status).setDetails(detail);
  switch (outcome.status) {
    case 'wrong_revision': {
      const wrong = new shared.WrongExpectedVersion();
      if (outcome.actual === null) wrong.setCurrentNoStream(new googleEmpty.Empty());
      else wrong.setCurrentStreamRevision(String(outcome.actual));
      if (typeof expected === 'number') wrong.setExpectedStreamPosition(String(expected));
      else if (expected === 'no_stream') wrong.setExpectedNoStream(new googleEmpty.Empty());
      else if (expected === 'stream_exists') wrong.setExpectedStreamExists(new googleEmpty.Empty());
      else wrong.setExpectedAny(new googleEmpty.Empty());
      detail.pack(wrong.serializeBinary(), 'event_store.client.WrongExpectedVersion');
      return status;
    }
    case 'too_large':
      detail.pack(
        new shared.MaximumAppendSizeExceeded().setMaxappendsize(APPEND_SIZE_MAX_BYTES).serializeBinary(),
        'event_store.client.MaximumAppendSizeExceeded',
      );
      return status.setCode(CODE_INVALID_ARGUMENT);
    case 'stream_deleted':
      detail.pack(
        new shared.StreamDeleted().setStreamIdentifier(identifierOf(stream)).serializeBinary(),
        'event_store.client.StreamDeleted',
      );
      return status;
  }
}
