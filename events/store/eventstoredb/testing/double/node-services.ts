/** What a client asks a node before it talks of streams: which methods it has (ServerFeatures) and who leads the cluster (Gossip). */
import { randomUUID } from 'node:crypto';
import type { ClusterInfo } from '@eventstore/db-client/generated/gossip_pb.js';
import gossip from '@eventstore/db-client/generated/gossip_pb.js';
import type { SupportedMethods } from '@eventstore/db-client/generated/serverfeatures_pb.js';
import features from '@eventstore/db-client/generated/serverfeatures_pb.js';
import type { Empty } from '@eventstore/db-client/generated/shared_pb.js';
import type { handleUnaryCall } from '@grpc/grpc-js';
import { uuidOf } from './messages.js';

const SERVER_VERSION = '23.10.0';
const STREAMS = 'event_store.client.streams.streams';

export function featuresHandler(hasBatchAppend: boolean): handleUnaryCall<Empty, SupportedMethods> {
  const methods = ['append', 'read', 'delete', 'tombstone', ...(hasBatchAppend ? ['batchappend'] : [])];
  return (_call, answer) => {
    const supported = new features.SupportedMethods().setEventStoreServerVersion(SERVER_VERSION);
    for (const name of methods) supported.addMethods(new features.SupportedMethod().setServiceName(STREAMS).setMethodName(name));
    answer(null, supported);
  };
}

/** A cluster of one, which leads. `port` is known once the server listens. */
export function gossipHandler(port: () => number): handleUnaryCall<Empty, ClusterInfo> {
  const instanceId = randomUUID();
  return (_call, answer) => {
    const member = new gossip.MemberInfo()
      .setInstanceId(uuidOf(instanceId))
      .setTimeStamp((BigInt(Date.now()) * 10_000n).toString())
      .setState(gossip.MemberInfo.VNodeState.LEADER)
      .setIsAlive(true)
      .setHttpEndPoint(new gossip.EndPoint().setAddress('127.0.0.1').setPort(port()));
    answer(null, new gossip.ClusterInfo().setMembersList([member]));
  };
}
