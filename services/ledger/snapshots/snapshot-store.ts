/** Where account snapshots live: beside the truth, never part of it. Losing them costs time only. */
import type { JsonObject } from '../../../events/contract/index.js';

export type Snapshot = {
  /** Revision of the last event folded into `state`. */
  readonly revision: number;
  readonly state: JsonObject;
};

export interface SnapshotStore {
  load(accountId: string): Promise<Snapshot | null>;
  /** Keeps the newer of what is there and what is given. */
  save(accountId: string, snapshot: Snapshot): Promise<void>;
}

export function memorySnapshotStore(): SnapshotStore {
  const snapshots = new Map<string, Snapshot>();
  return {
    load: async (accountId) => snapshots.get(accountId) ?? null,
    save: async (accountId, snapshot) => {
      const known = snapshots.get(accountId);
      if (known === undefined || known.revision < snapshot.revision) snapshots.set(accountId, structuredClone(snapshot));
    },
  };
}
