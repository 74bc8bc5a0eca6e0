/**
 * Fixes where a new group begins, before it has a member: at the end of the topic as it is now, so that the group sees everything published
 * after its first subscription. The client's own "latest" is looked up at the first fetch, by when messages may have been missed.
 *
 * Safe when several members begin at once. The end is read before the group is found to be new, and a group with members refuses this kind
 * of commit; so whatever was promised to an earlier member lies behind the offset, never before it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Cluster } from 'kafkajs';

/** What a commit says that comes from no member; a broker takes it only while the group has none. */
const NO_MEMBER = { groupGenerationId: -1, memberId: '' };

/** The group has members, who have seen to its offsets before they joined. */
const GROUP_IS_ALIVE: ReadonlySet<string> = new Set(['UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION', 'REBALANCE_IN_PROGRESS']);

/** A cluster that has just made the topic or elected a coordinator needs a moment to agree with itself. */
const ATTEMPTS_MAX = 10;
const ATTEMPT_PAUSE_MS = 100;

/** Rejects when the topic is unknown or the cluster does not answer. A group that has any offset of the topic is left as it is. */
export async function fixStartOffsets(cluster: Cluster, groupId: string, topic: string): Promise<void> {
  await cluster.addTargetTopic(topic);
  for (let attempts = 1; ; attempts += 1) {
    try {
      await attempt(cluster, groupId, topic);
      return;
    } catch (error) {
      if (attempts === ATTEMPTS_MAX || (error as { retriable?: boolean }).retriable !== true) throw error;
      await delay(ATTEMPT_PAUSE_MS);
      await cluster.refreshMetadata();
    }
  }
}

async function attempt(cluster: Cluster, groupId: string, topic: string): Promise<void> {
  const partitions = cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => ({ partition: partitionId }));
  const ends = await cluster.fetchTopicsOffset([{ topic, partitions, fromBeginning: false }]);
  const coordinator = await cluster.findGroupCoordinator({ groupId });
  // The broker reads no offset of a request for committed ones, though the type of the request has it.
  const asked = [{ topic, partitions: partitions.map(({ partition }) => ({ partition, offset: '0' })) }];
  const { responses } = await coordinator.offsetFetch({ groupId, topics: asked });
  const hasOffsets = responses.some((response) => response.partitions.some(({ offset }) => Number(offset) >= 0));
  if (hasOffsets) return;
  try {
    await coordinator.offsetCommit({ groupId, ...NO_MEMBER, topics: ends });
  } catch (error) {
    if (!GROUP_IS_ALIVE.has((error as { type?: string }).type ?? '')) throw error;
  }
}
