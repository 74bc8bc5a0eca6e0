/** Brings an account's state from the store: the newest snapshot, then the events after it. */
import { accountStream, decodeAccountEvent } from '../../../events/contract/index.js';
import { type EventStore, NO_STREAM, READ_EVENTS_MAX } from '../../../events/store/event-store.js';
import { type AccountState, emptyAccount, evolve } from '../domain/account-state.js';
import { stateFromSnapshot } from '../domain/snapshot.js';
import type { SnapshotStore } from '../snapshots/snapshot-store.js';

export type LoadedAccount = {
  readonly state: AccountState;
  /** Revision of the stream's last event, or `NO_STREAM`. */
  readonly revision: number;
  readonly snapshotRevision: number;
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
  for (;;) {
    const page = await store.readStream(stream, { fromRevision: revision + 1, maxCount: READ_EVENTS_MAX });
    for (const recorded of page) fold(state, decodeAccountEvent(recorded));
    revision = page.at(-1)?.revision ?? revision;
    if (page.length < READ_EVENTS_MAX) return { state, revision, snapshotRevision };
  }
}
