/** A planted bug: replaces one part of the system by a wrong one. The real code is untouched; what is not replaced is real. */
import type { MessageBus } from '../../../events/bus/message-bus.js';
import type { RecordedEvent } from '../../../events/contract/index.js';
import type { startRelay } from '../../../events/relay/relay.js';
import type { EventStore } from '../../../events/store/event-store.js';
import type { IdempotencyStore } from '../../../services/api/idempotency/idempotency-store.js';
import type { LedgerRules } from '../../../services/ledger/accounts/account-ledger.js';
import type { LedgerClient } from '../../../services/ledger/ledger-client.js';
import type { SnapshotStore } from '../../../services/ledger/snapshots/snapshot-store.js';
import type { MemoryViews } from '../memory-views.js';
import type { Actor } from '../timeline.js';
import type { World } from '../world.js';

export type Mutation = {
  /** What the bug does, in the present tense. */
  readonly name: string;
  readonly rules?: LedgerRules;
  readonly store?: (store: EventStore, world: World) => EventStore;
  readonly snapshots?: (snapshots: SnapshotStore) => SnapshotStore;
  readonly relay?: typeof startRelay;
  /** The API's way to the ledger. */
  readonly ledgerClient?: (client: LedgerClient, world: World, actor: Actor) => LedgerClient;
  /** The bus of the settling reactor. */
  readonly ledgerBus?: (bus: MessageBus) => MessageBus;
  readonly keys?: (keys: IdempotencyStore) => IdempotencyStore;
  /** Writes one page of events to the views. */
  readonly project?: (world: World, views: MemoryViews, events: readonly RecordedEvent[], actor: Actor) => Promise<void>;
  /** Leaves out the reactor that expires holds. */
  readonly without?: 'expiry';
};

export const NO_MUTATION: Mutation = { name: 'none' };
