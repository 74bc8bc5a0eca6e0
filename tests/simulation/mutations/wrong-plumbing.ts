/** Bugs planted round the ledger: store, snapshots, relay, projection, settling, idempotency keys, the API's calls. */
import type { MessageBus } from '../../../events/bus/message-bus.js';
import { ACCOUNT_EVENTS_TOPIC, type JsonObject, makeId, type RecordedEvent } from '../../../events/contract/index.js';
import type { Relay, RelayOptions } from '../../../events/relay/relay.js';
import { messageOfEvent } from '../../../events/relay/relayed-event.js';
import type { AppendResult, EventStore, StreamAppend } from '../../../events/store/event-store.js';
import { LedgerUnavailableError } from '../../../services/ledger/ledger-client.js';
import type { SnapshotStore } from '../../../services/ledger/snapshots/snapshot-store.js';
import { applyEvent, noChanges } from '../../../services/projector/domain/read-model-changes.js';
import type { World } from '../world.js';
import type { Mutation } from './mutation.js';

/** Writes behind whatever is there, as the "any" of some stores does. */
function ignoringRevisions(store: EventStore): EventStore {
  const appendAnyway = async (append: StreamAppend): Promise<AppendResult> => {
    for (let { expectedRevision } = append; ; ) {
      const [result] = await store.append([{ ...append, expectedRevision }]);
      if (result === undefined || result.status === 'appended') return result as AppendResult;
      expectedRevision = result.actualRevision;
    }
  };
  return { ...store, append: (appends) => Promise.all(appends.map(appendAnyway)) };
}

/** Forgets what it has written when the same batch comes again, and writes it behind. */
function writingRepeatsAgain(store: EventStore): EventStore {
  const wasReplayed = (result: AppendResult) => result.status === 'appended' && result.replayed;
  return {
    ...store,
    append: async (appends) => {
      const results = await store.append(appends);
      return Promise.all(
        results.map(async (result, index) => {
          const append = appends[index];
          if (!wasReplayed(result) || result.status !== 'appended' || append === undefined) return result;
          const [again] = await store.append([{ ...append, expectedRevision: result.revision }]);
          return again ?? result;
        }),
      );
    },
  };
}

/** Answers with what it expects to happen, and looks at what happens later. */
function writingBehind(store: EventStore, world: World): EventStore {
  return {
    ...store,
    append: async (appends) => {
      world.timeline.after(world.outside, 'write behind', WRITE_BEHIND_MS, () => void store.append(appends));
      return appends.map(({ expectedRevision, events }) => {
        return { status: 'appended', revision: expectedRevision + events.length, position: '', replayed: false };
      });
    },
  };
}

function savingOtherSnapshots(change: (revision: number, state: JsonObject) => { revision: number; state: JsonObject }) {
  return (snapshots: SnapshotStore): SnapshotStore => ({
    load: (accountId) => snapshots.load(accountId),
    save: (accountId, { revision, state }) => snapshots.save(accountId, change(revision, state)),
  });
}

/** The real relay with its two steps bent. */
function relaying(publish: (events: readonly RecordedEvent[], options: RelayOptions) => Promise<void>) {
  return async (options: RelayOptions): Promise<Relay> => {
    let position = await options.checkpoints.load();
    const subscription = options.store.subscribe({
      after: position,
      onEvents: async (events) => {
        await publish(events, options);
        position = events.at(-1)?.position ?? position;
      },
      onError: options.onError,
    });
    return { position: () => position, stop: () => subscription.stop() };
  };
}

const messagesOf = (events: readonly RecordedEvent[]) => events.map(messageOfEvent).filter((message) => message !== null);
const lastOf = (events: readonly RecordedEvent[]) => events.at(-1)?.position ?? '';

/** Takes results off the bus before their settlements are durable. */
function acknowledgingAtOnce(bus: MessageBus): MessageBus {
  return {
    publish: (topic, messages) => bus.publish(topic, messages),
    subscribe: (options) =>
      bus.subscribe({
        ...options,
        onMessages: (messages) => void Promise.resolve(options.onMessages(messages)).catch(() => {}),
      }),
    isReady: () => bus.isReady(),
    close: () => bus.close(),
  };
}

const WRITE_BEHIND_MS = 5;
const ROWS_BEHIND_MS = 30;
const twin = new Uint8Array(10).fill(7);

export const WRONG_PLUMBING: readonly Mutation[] = [
  { name: 'the store takes any revision', store: ignoringRevisions },
  { name: 'the store writes a repeated append again', store: writingRepeatsAgain },
  { name: 'the store answers before it has written', store: writingBehind },
  {
    name: 'a snapshot leaves out the open holds',
    snapshots: savingOtherSnapshots((revision, state) => ({ revision, state: { ...state, open: [] } })),
  },
  {
    name: 'a snapshot claims one event too many',
    snapshots: savingOtherSnapshots((revision, state) => ({ revision: revision + 1, state })),
  },
  {
    name: 'a snapshot claims one event too few',
    snapshots: savingOtherSnapshots((revision, state) => ({ revision: revision - 1, state })),
  },
  {
    name: 'the relay passes over events whose publication failed',
    relay: relaying(async (events, { bus, checkpoints }) => {
      await bus.publish(ACCOUNT_EVENTS_TOPIC, messagesOf(events)).catch(() => {});
      await checkpoints.save(lastOf(events));
    }),
  },
  {
    name: 'the relay moves its checkpoint before it publishes',
    relay: relaying(async (events, { bus, checkpoints }) => {
      await checkpoints.save(lastOf(events));
      await bus.publish(ACCOUNT_EVENTS_TOPIC, messagesOf(events));
    }),
  },
  {
    name: 'the relay publishes each batch from its end',
    relay: relaying(async (events, { bus, checkpoints }) => {
      await bus.publish(ACCOUNT_EVENTS_TOPIC, messagesOf(events).reverse());
      await checkpoints.save(lastOf(events));
    }),
  },
  {
    name: 'the projection applies a redelivered event again',
    project: async (_world, views, events) => {
      const past = views.past();
      const changes = noChanges();
      for (const event of events) {
        const account = past.accounts.get(event.stream.replace('account-', ''));
        const isRedelivered = account !== undefined && event.revision <= account.revision;
        if (isRedelivered && event.type === 'CreditGranted') account.revision = event.revision - 1;
        applyEvent(changes, past, event);
      }
      views.write(changes);
      views.moveCheckpoint(events);
    },
  },
  {
    name: 'the projection saves its checkpoint before its rows',
    project: (world, views, events, actor) => {
      views.moveCheckpoint(events);
      return new Promise((resolve) => {
        world.timeline.after(actor, 'write rows', ROWS_BEHIND_MS, () => {
          views.applyPage(events);
          resolve();
        });
      });
    },
  },
  {
    name: 'the projection skips the zero refunds',
    project: async (_world, views, events) => {
      const past = views.past();
      const changes = noChanges();
      for (const event of events) {
        const isSkipped = event.type === 'CreditRefunded' && event.data['refundedNanos'] === '0';
        const account = past.accounts.get(event.stream.replace('account-', ''));
        if (isSkipped && account !== undefined && event.revision === account.revision + 1) account.revision += 1;
        else applyEvent(changes, past, event);
      }
      views.write(changes);
      views.moveCheckpoint(events);
    },
  },
  { name: 'a result is taken off the bus before it is settled', ledgerBus: acknowledgingAtOnce },
  { name: 'holds never expire', without: 'expiry' },
  {
    name: 'a reservation whose answer was lost is made again under a new id',
    ledgerClient: (client, world, actor) => ({
      ...client,
      reserve: async (command) => {
        try {
          return await client.reserve(command);
        } catch (error) {
          if (!(error instanceof LedgerUnavailableError)) throw error;
          const again = { ...command, runId: makeId('run', actor.clock.nowMs(), twin) };
          world.asks.reservation(again, null);
          return client.reserve(again);
        }
      },
    }),
  },
  {
    name: 'a key forgets that its lost answer was charged',
    keys: (keys) => ({
      claim: (claim) => keys.claim(claim),
      takeOver: (claim, previousRunId) => keys.takeOver(claim, previousRunId, null),
      complete: (claim, answer) => keys.complete(claim, answer),
      release: (claim) => keys.release(claim, null),
      abandon: (claim) => keys.abandon(claim),
      renew: (instanceId, nowMs) => keys.renew(instanceId, nowMs),
      purge: (nowMs) => keys.purge(nowMs),
    }),
  },
  {
    name: 'a key that runs may be claimed again',
    keys: (keys) => ({
      claim: async (claim) => {
        const result = await keys.claim(claim);
        return result.status === 'running' || result.status === 'stale' ? { status: 'claimed', chargedRunId: null } : result;
      },
      takeOver: (claim, previousRunId, chargedRunId) => keys.takeOver(claim, previousRunId, chargedRunId),
      complete: (claim, answer) => keys.complete(claim, answer),
      release: (claim, chargedRunId) => keys.release(claim, chargedRunId),
      abandon: (claim) => keys.abandon(claim),
      renew: (instanceId, nowMs) => keys.renew(instanceId, nowMs),
      purge: (nowMs) => keys.purge(nowMs),
    }),
  },
];
