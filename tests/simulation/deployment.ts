/** Keeps the components of one history running: starts them as their deployment does, kills them at any step and starts them again later. */

import { InProcessBus } from '../../events/bus/in-process/in-process-bus.js';
import type { MessageBus } from '../../events/bus/message-bus.js';
import type { LedgerClient } from '../../services/ledger/ledger-client.js';
import { ApiNode } from './api-node.js';
import { connectBus } from './bus-connection.js';
import { type LedgerNode, releaseInterrupted, startLedger, startProjector, startRelaying } from './components.js';
import { connectLedger } from './ledger-connection.js';
import { connectStore } from './store-connection.js';
import { Actor } from './timeline.js';
import { startWorkerNode } from './worker-node.js';
import type { World } from './world.js';

const RESTART_MS_MAX = 3_000;
/** A relay or ledger that was thought dead goes on for a while beside its successor. */
const LINGERS = 0.3;

export interface Deployment {
  /** The API instance that takes requests now; `null` while none does. */
  api(): ApiNode | null;
  /** Kills one living component. */
  crash(): void;
  /** Actors whose clocks may jump. */
  actors(): readonly Actor[];
  /** Starts whatever is down and ends what lingers. */
  heal(): void;
  /** What must be nothing in the end: commands, orphans, runs in flight. */
  unfinished(): number;
  /** Every living ledger, to be asked directly. */
  ledgerClients(): readonly LedgerClient[];
}

export function deploy(world: World): Deployment {
  return world.plan.deployment === 'embedded' ? new EmbeddedDeployment(world) : new DistributedDeployment(world);
}

/** One process: whatever dies, all of it dies, the bus included. */
class EmbeddedDeployment implements Deployment {
  readonly #world: World;
  #process: { actor: Actor; api: ApiNode; ledgers: readonly LedgerNode[]; unfinishedRuns: () => number };
  #starts = 0;

  constructor(world: World) {
    this.#world = world;
    this.#process = this.#start();
  }

  ledgerClients(): readonly LedgerClient[] {
    return this.#process.ledgers.map((node) => node.client);
  }

  api(): ApiNode | null {
    return this.#process.actor.isAlive ? this.#process.api : null;
  }

  actors(): readonly Actor[] {
    return [this.#process.actor];
  }

  crash(): void {
    const { actor } = this.#process;
    if (!actor.isAlive) return;
    const { random } = this.#world;
    this.#world.trace.note(`${actor.name} is killed`);
    actor.die();
    this.#world.timeline.after(this.#world.outside, 'restart', random.below(RESTART_MS_MAX), () => this.heal());
  }

  heal(): void {
    if (!this.#process.actor.isAlive) this.#process = this.#start();
  }

  unfinished(): number {
    const { api, ledgers, unfinishedRuns } = this.#process;
    return api.replies.runsInFlight + unfinishedRuns() + ledgers.reduce((total, node) => total + node.unfinished(), 0);
  }

  #start() {
    const world = this.#world;
    this.#starts += 1;
    const actor = new Actor(`farebox-${this.#starts}`, world.timeline);
    const bus = world.observedBus(new InProcessBus({ scheduler: actor.scheduler }), actor);
    const store = connectStore(world.store, actor, world.network);
    startProjector(world, actor, bus);
    const node = startLedger(world, actor, { store, bus });
    const worker = startWorkerNode(world, actor, bus);
    const client = world.mutation.ledgerClient?.(node.client, world, actor) ?? node.client;
    const api = new ApiNode(world, actor, { bus, ledger: client });
    void api.start();
    void startRelaying(world, actor, { store, bus });
    if (this.#starts > 1) releaseInterrupted(world, node, world.timeline.nowMs);
    return { actor, api, ledgers: [node], unfinishedRuns: worker.unfinished };
  }
}

type Part = { readonly actor: Actor; readonly restart: () => Part };

/** Each component alone, over one broker that outlives them all. */
class DistributedDeployment implements Deployment {
  readonly #world: World;
  readonly #broker: MessageBus;
  readonly #ledgers: LedgerNode[] = [];
  readonly #unfinishedRuns = new Map<Actor, () => number>();
  readonly #lingering: Actor[] = [];
  readonly #parts: Part[];
  #api: ApiNode | null = null;
  #starts = 0;

  constructor(world: World) {
    this.#world = world;
    this.#broker = world.observedBus(new InProcessBus({ scheduler: world.outside.scheduler }), world.outside);
    this.#parts = [() => this.#startProjector(), () => this.#startLedger(), () => this.#startApi()].map((start) => start());
    for (let workers = 0; workers < world.plan.workers; workers += 1) this.#parts.push(this.#startWorker());
    if (world.plan.zombieLedger) this.#parts.push(this.#startLedger());
    this.#parts.push(this.#startRelay());
  }

  ledgerClients(): readonly LedgerClient[] {
    return this.#ledgers.filter((node) => node.actor.isAlive).map((node) => node.client);
  }

  api(): ApiNode | null {
    return this.#api?.actor.isAlive ? this.#api : null;
  }

  actors(): readonly Actor[] {
    return this.#parts.map((part) => part.actor);
  }

  crash(): void {
    const { random, trace, timeline, outside } = this.#world;
    const index = random.below(this.#parts.length);
    const part = this.#parts[index];
    if (part === undefined || !part.actor.isAlive || this.#lingering.includes(part.actor)) return;
    const lingers = random.chance(LINGERS) && /^(ledger|relay)/.test(part.actor.name);
    trace.note(`${part.actor.name} ${lingers ? 'is thought dead' : 'is killed'}`);
    if (lingers) this.#lingering.push(part.actor);
    else part.actor.die();
    timeline.after(outside, `restart ${part.actor.name}`, random.below(RESTART_MS_MAX), () => {
      if (this.#parts[index] === part) this.#parts[index] = part.restart();
    });
  }

  heal(): void {
    for (const actor of this.#lingering.splice(0)) actor.die();
    this.#parts.forEach((part, index) => {
      if (!part.actor.isAlive) this.#parts[index] = part.restart();
    });
  }

  unfinished(): number {
    let unfinished = this.#api?.replies.runsInFlight ?? 0;
    for (const node of this.#ledgers) if (node.actor.isAlive) unfinished += node.unfinished();
    for (const [actor, runs] of this.#unfinishedRuns) if (actor.isAlive) unfinished += runs();
    return unfinished;
  }

  #actor(kind: string): Actor {
    this.#starts += 1;
    return new Actor(`${kind}-${this.#starts}`, this.#world.timeline);
  }

  #portsOf(actor: Actor) {
    const { store, network } = this.#world;
    return { store: connectStore(store, actor, network), bus: connectBus(this.#broker, actor, network) };
  }

  #startLedger(): Part {
    const actor = this.#actor('ledger');
    this.#ledgers.push(startLedger(this.#world, actor, this.#portsOf(actor)));
    return { actor, restart: () => this.#startLedger() };
  }

  #startProjector(): Part {
    const actor = this.#actor('projector');
    startProjector(this.#world, actor, this.#portsOf(actor).bus);
    return { actor, restart: () => this.#startProjector() };
  }

  #startRelay(): Part {
    const actor = this.#actor('relay');
    void startRelaying(this.#world, actor, this.#portsOf(actor));
    return { actor, restart: () => this.#startRelay() };
  }

  #startWorker(): Part {
    const actor = this.#actor('worker');
    this.#unfinishedRuns.set(actor, startWorkerNode(this.#world, actor, this.#portsOf(actor).bus).unfinished);
    return { actor, restart: () => this.#startWorker() };
  }

  #startApi(): Part {
    const actor = this.#actor('api');
    const ledger = connectLedger(this.#world, actor, () => this.#ledgers);
    const client = this.#world.mutation.ledgerClient?.(ledger, this.#world, actor) ?? ledger;
    this.#api = new ApiNode(this.#world, actor, { bus: this.#portsOf(actor).bus, ledger: client });
    void this.#api.start();
    return { actor, restart: () => this.#startApi() };
  }
}
