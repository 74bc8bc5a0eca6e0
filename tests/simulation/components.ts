/** Starts the real parts, each in an actor of its own or all in one, over the connections they are given. */
import type { MessageBus } from '../../events/bus/message-bus.js';
import { ACCOUNT_EVENTS_TOPIC, BEFORE_EVERYTHING } from '../../events/contract/index.js';
import type { CheckpointStore } from '../../events/relay/relay.js';
import { startRelay } from '../../events/relay/relay.js';
import { eventOfMessage } from '../../events/relay/relayed-event.js';
import type { EventStore } from '../../events/store/event-store.js';
import { AccountLedger } from '../../services/ledger/accounts/account-ledger.js';
import type { OpenHolds } from '../../services/ledger/holds/open-holds.js';
import { inProcessLedgerClient } from '../../services/ledger/in-process-ledger-client.js';
import type { LedgerClient } from '../../services/ledger/ledger-client.js';
import { expireReservations, releaseInterruptedReservations } from '../../services/ledger/reactors/expire-reservations.js';
import { releaseOrphanedReservations } from '../../services/ledger/reactors/release-orphaned-reservations.js';
import { settleFinishedRuns } from '../../services/ledger/reactors/settle-finished-runs.js';
import type { SnapshotStore } from '../../services/ledger/snapshots/snapshot-store.js';
import { drawFate, overNetwork } from './network.js';
import type { Actor } from './timeline.js';
import type { World } from './world.js';

/** Small, so that short histories have snapshots in their middle. */
const SNAPSHOT_EVENTS_SIMULATED = 7;

/** A view that is asked too early names holds of deadlines this far ahead. */
const EAGER_MS = 15_000;

/** The projector's group, restated: `projector.ts` needs a Postgres pool, its folds do not. */
const PROJECTOR_GROUP = 'projector';

export type LedgerNode = {
  readonly actor: Actor;
  readonly client: LedgerClient;
  /** Commands, orphans: what must be nothing in the end. */
  readonly unfinished: () => number;
  readonly ledger: AccountLedger;
};

export function startLedger(world: World, actor: Actor, ports: { readonly store: EventStore; readonly bus: MessageBus }): LedgerNode {
  const { clock, scheduler } = actor;
  const { logger } = world;
  const orphans = releaseOrphanedReservations({ ledger: () => ledger, scheduler, logger });
  const ledger: AccountLedger = new AccountLedger({
    store: ports.store,
    snapshots: connectSnapshots(world, actor),
    clock,
    scheduler,
    logger,
    onOrphanedReservation: orphans.note,
    snapshotEvents: SNAPSHOT_EVENTS_SIMULATED,
    ...(world.mutation.rules === undefined ? {} : { rules: world.mutation.rules }),
  });
  const holds = connectHolds(world, actor);
  void settleFinishedRuns({
    bus: world.mutation.ledgerBus?.(ports.bus) ?? ports.bus,
    settle: (command) => ledger.submit(command),
    logger,
  });
  if (world.mutation.without !== 'expiry') expireReservations({ ledger, holds, clock, scheduler, logger });
  return { actor, ledger, client: inProcessLedgerClient(ledger), unfinished: () => ledger.pendingCommands + orphans.waiting() };
}

/** What the embedded deployment does when it starts: no run of the process before can be alive. */
export function releaseInterrupted(world: World, node: LedgerNode, startedMs: number): void {
  const { clock, scheduler } = node.actor;
  const { logger } = world;
  const options = { ledger: node.ledger, holds: connectHolds(world, node.actor), clock, scheduler, logger };
  const viewCaughtUp = () =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (world.views.events === world.oracle.log.length) resolve();
        else scheduler.delay(look, 50);
      };
      look();
    });
  const release = () => {
    releaseInterruptedReservations(options, startedMs, viewCaughtUp).catch(() => scheduler.delay(release, 500));
  };
  release();
}

export function startProjector(world: World, actor: Actor, bus: MessageBus): void {
  const { network, views, mutation } = world;
  const apply = mutation.project ?? ((_world, rows, events) => Promise.resolve(rows.applyPage(events)));
  void bus.subscribe({
    topic: ACCOUNT_EVENTS_TOPIC,
    group: PROJECTOR_GROUP,
    onMessages: async (messages) => {
      const events = messages.map(eventOfMessage);
      const { commitFails } = network.faults;
      const fate = drawFate(network, { refused: commitFails, answerLost: commitFails });
      await overNetwork(network, actor, 'commit views', fate, () => apply(world, views, events, actor));
    },
    onError: (error) => world.logger.warn({ err: error }, 'projection failed, will be tried again'),
  });
}

/** On a bus that forgets, the relay begins where the views stand; on one that remembers, where it had come itself. */
export async function startRelaying(
  world: World,
  actor: Actor,
  ports: { readonly store: EventStore; readonly bus: MessageBus },
): Promise<void> {
  const start = world.mutation.relay ?? startRelay;
  const checkpoints = world.plan.deployment === 'embedded' ? viewsCheckpoint(world) : connectCheckpoint(world, actor);
  const relay = await start({ ...ports, checkpoints, onError: () => {} });
  if (!actor.isAlive) await relay.stop();
}

function viewsCheckpoint(world: World): CheckpointStore {
  return { load: async () => world.views.checkpoint || BEFORE_EVERYTHING, save: async () => {} };
}

function connectCheckpoint(world: World, actor: Actor): CheckpointStore {
  const { network, relayCheckpoint } = world;
  return {
    load: () => overNetwork(network, actor, 'load checkpoint', 'done', () => relayCheckpoint.load()),
    save: (position) => {
      const { commitFails } = network.faults;
      const fate = drawFate(network, { refused: commitFails, answerLost: commitFails });
      return overNetwork(network, actor, 'save checkpoint', fate, () => relayCheckpoint.save(position));
    },
  };
}

function connectSnapshots(world: World, actor: Actor): SnapshotStore {
  const { network, snapshots } = world;
  const fate = () => drawFate(network, { refused: network.faults.readFails, answerLost: 0 });
  return {
    load: (accountId) => overNetwork(network, actor, 'load snapshot', fate(), () => snapshots.load(accountId)),
    save: (accountId, snapshot) => overNetwork(network, actor, 'save snapshot', fate(), () => snapshots.save(accountId, snapshot)),
  };
}

function connectHolds(world: World, actor: Actor): OpenHolds {
  const { network } = world;
  const holds = world.views.openHolds();
  const eagernessMs = () => (network.random.chance(network.faults.viewTooEager) ? EAGER_MS : 0);
  const ask = <Answer>(perform: () => Promise<Answer>) =>
    overNetwork(network, actor, 'find holds', drawFate(network, { refused: network.faults.readFails, answerLost: 0 }), perform);
  return {
    dueBefore: (beforeMs, limit) => ask(() => holds.dueBefore(beforeMs + eagernessMs(), limit)),
    reservedBefore: (beforeMs, limit) => ask(() => holds.reservedBefore(beforeMs, limit)),
    oldestReservedMs: () => ask(() => holds.oldestReservedMs()),
  };
}
