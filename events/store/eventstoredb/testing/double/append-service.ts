/** Append, BatchAppend, Delete and Tombstone of the Streams service. */

import shared from '@eventstore/db-client/generated/shared_pb.js';
import type {
  AppendReq,
  AppendResp,
  BatchAppendReq,
  BatchAppendResp,
  DeleteReq,
  DeleteResp,
  TombstoneReq,
  TombstoneResp,
} from '@eventstore/db-client/generated/streams_pb.js';
import streams from '@eventstore/db-client/generated/streams_pb.js';
import {
  type handleUnaryCall,
  Metadata,
  type ServerDuplexStream,
  type ServerReadableStream,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import googleEmpty from 'google-protobuf/google/protobuf/empty_pb.js';
import type { Gate } from './gate.js';
import { batchErrorOf, expectedOf, expectedOfBatch, identifierOf, proposedEventOf, streamNameOf } from './messages.js';
import { APPEND_SIZE_MAX_BYTES, type AppendOutcome, type Expected, type ProposedEvent, type StoredLog } from './stored-log.js';

type Refused = Exclude<AppendOutcome, { status: 'written' | 'idempotent' | 'wrong_revision' }>;

/** What a server before 22.6 and an idempotent append say of a position. */
const NO_POSITION = '18446744073709551615';

export function appendHandler(log: StoredLog, gate: Gate) {
  return (call: ServerReadableStream<AppendReq, AppendResp>, answer: sendUnaryData<AppendResp>): void => {
    let stream = '';
    let expected: Expected = 'any';
    const events: ProposedEvent[] = [];
    call.on('data', (request: AppendReq) => {
      const options = request.getOptions();
      const proposed = request.getProposedMessage();
      if (options !== undefined) {
        stream = streamNameOf(options.getStreamIdentifier());
        expected = expectedOf(options);
      }
      if (proposed !== undefined) events.push(proposedEventOf(proposed));
    });
    call.on('error', () => {});
    call.on('end', () =>
      gate.toWork(() => {
        const outcome = log.append(stream, expected, events);
        if (!gate.mayAnswer()) return;
        if (outcome.status === 'too_large' || outcome.status === 'stream_deleted') answer(exceptionOf(outcome, stream));
        else answer(null, appendResponseOf(outcome, expected));
      }),
    );
  };
}

function appendResponseOf(outcome: Exclude<AppendOutcome, Refused>, expected: Expected): AppendResp {
  const response = new streams.AppendResp();
  if (outcome.status === 'wrong_revision') {
    const wrong = new streams.AppendResp.WrongExpectedVersion();
    if (outcome.actual === null) wrong.setCurrentNoStream(new shared.Empty());
    else wrong.setCurrentRevision(String(outcome.actual));
    if (typeof expected === 'number') wrong.setExpectedRevision(String(expected));
    else if (expected === 'no_stream') wrong.setExpectedNoStream(new shared.Empty());
    else if (expected === 'stream_exists') wrong.setExpectedStreamExists(new shared.Empty());
    else wrong.setExpectedAny(new shared.Empty());
    return response.setWrongExpectedVersion(wrong);
  }
  const { revision, commit, prepare } = successOf(outcome);
  const position = new streams.AppendResp.Position().setCommitPosition(commit).setPreparePosition(prepare);
  return response.setSuccess(new streams.AppendResp.Success().setCurrentRevision(revision).setPosition(position));
}

/** Requests of one call are carried out in their order; a request may come in several messages, of which the last is marked. */
export function batchAppendHandler(log: StoredLog, gate: Gate) {
  return (call: ServerDuplexStream<BatchAppendReq, BatchAppendResp>): void => {
    const gathering = new Map<string, { readonly stream: string; readonly expected: Expected; readonly events: ProposedEvent[] }>();
    call.on('data', (request: BatchAppendReq) => {
      const id = request.getCorrelationId()?.getString() ?? '';
      const options = request.getOptions();
      if (options !== undefined) {
        gathering.set(id, { stream: streamNameOf(options.getStreamIdentifier()), expected: expectedOfBatch(options), events: [] });
      }
      const gathered = gathering.get(id);
      if (gathered === undefined) return;
      gathered.events.push(...request.getProposedMessagesList().map(proposedEventOf));
      if (!request.getIsFinal()) return;
      gathering.delete(id);
      gate.toWork(() => {
        const { stream, expected, events } = gathered;
        const outcome = log.append(stream, expected, events);
        if (!gate.mayAnswer()) return;
        const response = new streams.BatchAppendResp().setStreamIdentifier(identifierOf(stream));
        response.setCorrelationId(request.getCorrelationId());
        if (outcome.status === 'written' || outcome.status === 'idempotent') {
          const { revision, commit, prepare } = successOf(outcome);
          const position = new shared.AllStreamPosition().setCommitPosition(commit).setPreparePosition(prepare);
          response.setSuccess(new streams.BatchAppendResp.Success().setCurrentRevision(revision).setPosition(position));
        } else response.setError(batchErrorOf(outcome, stream, expected));
        if (typeof expected === 'number') response.setStreamPosition(String(expected));
        else response.setNoStream(new googleEmpty.Empty());
        call.write(response);
      });
    });
    call.on('error', () => {});
    call.on('end', () => call.end());
  };
}

export function deleteHandler(log: StoredLog, gate: Gate): handleUnaryCall<DeleteReq, DeleteResp> {
  return ({ request }, answer) =>
    gate.toWork(() => {
      const options = request.getOptions();
      const stream = streamNameOf(options?.getStreamIdentifier());
      const expected =
        options?.hasRevision() === true ? Number(options.getRevision()) : options?.hasNoStream() === true ? 'no_stream' : 'any';
      const outcome = log.delete(stream, expected, false);
      if (!gate.mayAnswer()) return;
      if (outcome.status !== 'written') return answer(exceptionOf(outcome, stream, expected));
      const position = new streams.DeleteResp.Position().setCommitPosition(String(outcome.last.commit));
      answer(null, new streams.DeleteResp().setPosition(position.setPreparePosition(String(outcome.last.prepare))));
    });
}

export function tombstoneHandler(log: StoredLog, gate: Gate): handleUnaryCall<TombstoneReq, TombstoneResp> {
  return ({ request }, answer) =>
    gate.toWork(() => {
      const options = request.getOptions();
      const stream = streamNameOf(options?.getStreamIdentifier());
      const expected = options?.hasRevision() === true ? Number(options.getRevision()) : 'any';
      const outcome = log.delete(stream, expected, true);
      if (!gate.mayAnswer()) return;
      if (outcome.status !== 'written') return answer(exceptionOf(outcome, stream, expected));
      const position = new streams.TombstoneResp.Position().setCommitPosition(String(outcome.last.commit));
      answer(null, new streams.TombstoneResp().setPosition(position.setPreparePosition(String(outcome.last.prepare))));
    });
}

function successOf(outcome: Extract<AppendOutcome, { status: 'written' | 'idempotent' }>) {
  if (outcome.status === 'idempotent') return { revision: String(outcome.revision), commit: NO_POSITION, prepare: NO_POSITION };
  const { revision, commit } = outcome.last;
  // The server gives the commit position twice.
  return { revision: String(revision), commit: String(commit), prepare: String(commit) };
}

/** Outside batch appends, errors travel as metadata of the call's status. */
export function exceptionOf(outcome: AppendOutcome, stream: string, expected: Expected = 'any') {
  const metadata = new Metadata();
  metadata.set('stream-name', stream);
  switch (outcome.status) {
    case 'wrong_revision':
      metadata.set('exception', 'wrong-expected-version');
      metadata.set('expected-version', typeof expected === 'number' ? String(expected) : '-1');
      if (outcome.actual !== null) metadata.set('actual-version', String(outcome.actual));
      break;
    case 'too_large':
      metadata.set('exception', 'maximum-append-size-exceeded');
      metadata.set('maximum-append-size', String(APPEND_SIZE_MAX_BYTES));
      break;
    default:
      metadata.set('exception', 'stream-deleted');
  }
  return { code: status.FAILED_PRECONDITION, details: outcome.status, metadata };
}
