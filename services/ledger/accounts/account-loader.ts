/** Brings an account's state from the store: the newest snapshot, then the events after it. */
import { accountStream, decodeAccountEvent, type JsonObject } from '../../../events/contract/index.js';
import { type EventStore, NO_STREAM, READ_EVENTS_MAX } from '../../../events/store/event-store.js';
import { type AccountState, emptyAccount, evolve } from '../domain/account-state.js';
import { stateFromSnapshot, stateToSnapshot } from '../domain/snapshot.js';
import type { Snapshot, SnapshotStore } from '../snapshots/snapshot-store.js';

export type LoadedAccount = {
  readonly state: AccountState;
  /** Revision of the stream's last event, or `NO_STREAM`. */
  readonly revision: number;
  readonly snapshotRevision: number;
  /** Hash of the last event in the account's chain; `null` where it has none. Moves on with the state. */
  chain: string | null;
};

export async function loadAccount(
  accountId: string,
  store: EventStore,
  snapshots: SnapshotStore,
  fold: typeof evolve = evolve,
): Promise<LoadedAccount> {
  const snapshot = await snapshots.load(accountId);
  const restored = snapshot === null ? null : stateFromSnapshot(snapshot.state);
  const snapshotRevision = restored === null || snapshot === null ? NO_STREAM : snapshot.revision;
  const state = restored ?? emptyAccount();
  const stream = accountStream(accountId);
  let revision = snapshotRevision;
  let chain = snapshot === null || restored === null ? null : await chainOfSnapshot(snapshot, stream, store);
  for (;;) {
    const page = await store.readStream(stream, { fromRevision: revision + 1, maxCount: READ_EVENTS_MAX });
    for (const recorded of page) fold(state, decodeAccountEvent(recorded));
    const last = page.at(-1);
    if (last !== undefined) {
      revision = last.revision;
      chain = last.metadata.chain ?? null;
    }
    if (page.length < READ_EVENTS_MAX) return { state, revision, snapshotRevision, chain };
  }
}

/** What is kept of an account: its state, and the hash of the last event in it. */
export function snapshotOf({ state, chain }: LoadedAccount): JsonObject {
  return { ...stateToSnapshot(state), chain };
}

/** A build that knew nothing of the chain may have taken the snapshot; then the event at its end has the hash, if any. */
async function chainOfSnapshot({ revision, state }: Snapshot, stream: string, store: EventStore): Promise<string | null> {
  const { chain } = state;
  if (chain === null || typeof chain === 'string') return chain;
  const [last] = await store.readStream(stream, { fromRevision: revision, maxCount: 1 });
  return last?.metadata.chain ?? null;
}
