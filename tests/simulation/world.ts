/** Everything of one history that outlives its components, and what they are all given. */
import { type Logger, pino } from 'pino';
import type { Message, MessageBus, SubscribeOptions } from '../../events/bus/message-bus.js';
import { BEFORE_EVERYTHING, type IdPrefix, makeId, type Position } from '../../events/contract/index.js';
import type { CheckpointStore } from '../../events/relay/relay.js';
import type { EventStore } from '../../events/store/event-store.js';
import { createMemoryEventStore } from '../../events/store/memory/memory-event-store.js';
import type { IdSource } from '../../platform/id-source.js';
import type { IdempotencyStore } from '../../services/api/idempotency/idempotency-store.js';
import { MemoryIdempotencyStore } from '../../services/api/testing/memory-idempotency-store.js';
import { InvariantError } from '../../services/ledger/domain/invariant.js';
import { SETTLING_GROUP } from '../../services/ledger/reactors/settle-finished-runs.js';
import { memorySnapshotStore, type SnapshotStore } from '../../services/ledger/snapshots/snapshot-store.js';
import { Asks } from './asks.js';
import { drawFaultPlan, type FaultPlan } from './fault-plan.js';
import { MemoryViews } from './memory-views.js';
import type { Mutation } from './mutations/mutation.js';
import { type EngineEvidence, NaiveOracle } from './naive-oracle.js';
import { type Network, SimulatedFault } from './network.js';
import { PublishedEvents } from './published-events.js';
import { SeededRandom } from './seeded-random.js';
import { Actor, Timeline } from './timeline.js';
import { Trace } from './trace.js';
import { mustHold, Violation } from './violation.js';

/** A late result comes up to this much later: long after the longest deadline plus grace. */
const LATE_MS_MAX = 35_000;

export class World {
  readonly random: SeededRandom;
  readonly plan: FaultPlan;
  readonly trace: Trace;
  readonly timeline: Timeline;
  readonly outside: Actor;
  readonly network: Network;
  readonly oracle = new NaiveOracle();
  readonly asks: Asks;
  readonly published: PublishedEvents;
  readonly mutation: Mutation;
  readonly store: EventStore;
  readonly snapshots: SnapshotStore;
  readonly views: MemoryViews;
  readonly idempotencyKeys: IdempotencyStore;
  readonly relayCheckpoint: CheckpointStore;
  readonly logger: Logger;
  violation: Violation | null = null;

  constructor(seed: number, mutation: Mutation, keepsTrace: boolean) {
    this.mutation = mutation;
    this.random = new SeededRandom(seed);
    this.plan = drawFaultPlan(this.random);
    this.trace = new Trace(keepsTrace);
    this.timeline = new Timeline(this.random, this.trace);
    this.outside = new Actor('outside', this.timeline);
    this.network = { timeline: this.timeline, random: this.random, outside: this.outside, faults: this.plan };
    this.asks = new Asks(this.oracle, (check) => this.check(check));
    this.published = new PublishedEvents(this.oracle);
    this.views = new MemoryViews();
    this.idempotencyKeys = mutation.keys?.(new MemoryIdempotencyStore()) ?? new MemoryIdempotencyStore();
    this.snapshots = mutation.snapshots?.(memorySnapshotStore()) ?? memorySnapshotStore();
    const inner = createMemoryEventStore({ scheduler: this.outside.scheduler });
    this.store = this.#observed(mutation.store?.(inner, this) ?? inner);
    this.relayCheckpoint = rememberedCheckpoint();
    this.logger = this.#listeningLogger();
  }

  /** Runs a check; a violation ends the history instead of the component that happened to be running. */
  check(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.fail(error);
    }
  }

  fail(error: unknown): void {
    const violation =
      error instanceof Violation
        ? error
        : new Violation('no bugs', error instanceof Error ? (error.stack ?? error.message) : String(error));
    this.violation ??= violation;
  }

  /** For errors that a component reports and survives: faults of the plan are expected, anything else is a bug. */
  onUnexpected(error: unknown): void {
    if (!(error instanceof SimulatedFault)) this.fail(error);
  }

  witness(runId: string, evidence: EngineEvidence): void {
    const known = this.oracle.evidence.get(runId);
    if (known === undefined) this.oracle.evidence.set(runId, [evidence]);
    else known.push(evidence);
  }

  /** Ids of `actor`'s making, from the history's own chance and the actor's clock. */
  idsOf(actor: Actor): IdSource {
    return { next: (prefix: IdPrefix) => makeId(prefix, actor.clock.nowMs(), this.#randomBytes()) };
  }

  /** A bus whose publications are looked at as they are accepted. `owner` holds what is stuck on its way. */
  observedBus(bus: MessageBus, owner: Actor): MessageBus {
    const publish = async (topic: string, messages: readonly Message[]) => {
      await bus.publish(topic, messages);
      this.check(() => this.published.onPublished(topic, messages));
      for (const message of messages) this.trace.note(`${message.type} ${message.key}`);
    };
    const publishLater = (topic: string, message: Message) =>
      this.timeline.after(owner, `late ${message.type}`, this.random.below(LATE_MS_MAX), () => void publish(topic, [message]));
    return {
      publish: async (topic, messages) => {
        const inTime: Message[] = [];
        for (const message of messages) {
          const isResult = message.type === 'RunFinished';
          const isLate = isResult && this.random.chance(this.network.faults.resultLate);
          if (!isLate) inTime.push(message);
          if (isLate || (isResult && this.random.chance(this.network.faults.commandRepeated))) publishLater(topic, message);
        }
        if (inTime.length > 0) await publish(topic, inTime);
      },
      subscribe: (options) => bus.subscribe(options.group === SETTLING_GROUP ? this.#watched(options) : options),
      isReady: () => bus.isReady(),
      close: () => bus.close(),
    };
  }

  /** A result that the ledger takes off the bus has closed its run. */
  #watched(options: SubscribeOptions): SubscribeOptions {
    return {
      ...options,
      onMessages: async (messages) => {
        await options.onMessages(messages);
        for (const { value } of messages) {
          const runId = value['runId'] as string;
          const run = this.oracle.runs.get(runId);
          this.check(() =>
            mustHold(run === undefined || run.outcome !== null, '11 durable', () => `a result of run ${runId} was taken and not settled`),
          );
        }
      },
    };
  }

  #observed(store: EventStore): EventStore {
    return {
      ...store,
      append: async (appends) => {
        const results = await store.append(appends);
        results.forEach((result, index) => {
          const append = appends[index];
          if (append === undefined) return;
          if (result.status === 'conflict') {
            this.trace.note(`conflict on ${append.stream}: ${append.expectedRevision} is not ${result.actualRevision}`);
            return;
          }
          const firstRevision = result.revision - append.events.length + 1;
          this.trace.note(
            `${result.replayed ? 'replayed' : 'written'} ${append.stream}/${firstRevision} ${append.events.map((event) => event.type).join(' ')}`,
          );
          if (!result.replayed) this.check(() => this.oracle.onWritten(append.stream, firstRevision, append.events));
        });
        return results;
      },
    };
  }

  /** The real logger; what it hears of a broken invariant ends the history. */
  #listeningLogger(): Logger {
    return pino({
      level: 'warn',
      hooks: {
        logMethod: (inputs: unknown[]) => {
          const [context, text] = inputs as [{ err?: unknown } | undefined, string | undefined];
          const error = context?.err;
          this.trace.note(`log: ${text ?? ''}`);
          const isBug = error instanceof InvariantError || error instanceof RangeError || error instanceof TypeError;
          if (isBug) this.fail(new Violation('no bugs', `${text}: ${(error as Error).stack}`));
        },
      },
    });
  }

  #randomBytes(): Uint8Array {
    const bytes = new Uint8Array(10);
    for (let index = 0; index < bytes.length; index += 1) bytes[index] = this.random.below(256);
    return bytes;
  }
}

function rememberedCheckpoint(): CheckpointStore {
  let position: Position = BEFORE_EVERYTHING;
  return {
    load: async () => position,
    save: async (saved) => {
      position = saved;
    },
  };
}
