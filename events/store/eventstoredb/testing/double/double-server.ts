/**
 * The double's process: a server that speaks EventStoreDB's Streams protocol on a local port. Started by `event-store-double.ts`, which tells
 * it what to be in `FAREBOX_EVENT_STORE_DOUBLE` and what to do by messages.
 */

import { readFileSync } from 'node:fs';
import gossipService from '@eventstore/db-client/generated/gossip_grpc_pb.js';
import featuresService from '@eventstore/db-client/generated/serverfeatures_grpc_pb.js';
import streamsService from '@eventstore/db-client/generated/streams_grpc_pb.js';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { forUser } from './access.js';
import { appendHandler, batchAppendHandler, deleteHandler, tombstoneHandler } from './append-service.js';
import type { DoubleCommand, DoubleReport, DoubleSettings } from './event-store-double.js';
import { Gate } from './gate.js';
import { featuresHandler, gossipHandler } from './node-services.js';
import { readHandler, sentToSubscribers } from './read-service.js';
import { StoredLog } from './stored-log.js';

/** As the server has it: events of up to 16 MB. */
const MESSAGE_MAX_BYTES = 16 * 1_024 * 1_024;

const settings = JSON.parse(process.env['FAREBOX_EVENT_STORE_DOUBLE'] ?? '{}') as DoubleSettings;
const log = new StoredLog(settings.folder);
const gate = new Gate();
let port = settings.port;

const { batchAppend, ...otherMethods } = streamsService.StreamsService;
const methods = {
  read: readHandler(log, gate),
  append: appendHandler(log, gate),
  delete: deleteHandler(log, gate),
  tombstone: tombstoneHandler(log, gate),
};
const server = new Server({ 'grpc.max_receive_message_length': MESSAGE_MAX_BYTES });
if (settings.mode === 'default') {
  server.addService({ ...otherMethods, batchAppend }, forUser(settings.user, { ...methods, batchAppend: batchAppendHandler(log, gate) }));
} else server.addService({ ...otherMethods }, forUser(settings.user, methods));
if (settings.mode !== 'no server features') {
  server.addService(featuresService.ServerFeaturesService, { getSupportedMethods: featuresHandler(settings.mode === 'default') });
}
server.addService(gossipService.GossipService, { read: gossipHandler(() => port) });

const report = (message: DoubleReport) => process.send?.(message);

process.on('message', (command: DoubleCommand) => {
  switch (command.type) {
    case 'freeze':
      gate.freeze(command.how);
      break;
    case 'thaw':
      gate.thaw();
      break;
    case 'count':
      break;
  }
  report({ type: 'done', id: command.id, held: gate.held, events: log.events.length, sent: sentToSubscribers() });
});
// Its owner is gone.
process.on('disconnect', () => process.exit(0));

server.bindAsync(`127.0.0.1:${port}`, serverCredentials(settings.tls), (error, bound) => {
  if (error !== null) {
    report({ type: 'failed', message: error.message });
    return;
  }
  port = bound;
  report({ type: 'listening', port });
});

function serverCredentials(tls: DoubleSettings['tls']): ServerCredentials {
  if (tls === null) return ServerCredentials.createInsecure();
  const pair = { cert_chain: readFileSync(tls.server.certFile), private_key: readFileSync(tls.server.keyFile) };
  return ServerCredentials.createSsl(readFileSync(tls.caFile), [pair], tls.needsUserCertificate);
}
