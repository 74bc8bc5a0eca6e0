/**
 * The ledger's shell: decides commands on cached account states and makes them durable with group commit. Commands for one account queue up
 * and are decided together; the events of many accounts go to the store in one append. Nothing is answered before it is durable.
 *
 *     submit ──▶ queue of the account ──▶ decide + evolve ──▶ append (many accounts) ──▶ answer
 *                      ▲                                        │ conflict: drop the state,
 *                      └──────────── re-read, decide again ─────┘ somebody else wrote
 *
 * The expected revision is the fence: a second ledger on the same account is slower, never wrong.
 */
import type { Logger } from 'pino';
import { chainAfter } from '../../../events/account-chain.js';
import { accountStream, eventIdOf, type NewEvent, type RecordedEvent, toNewEvent } from '../../../events/contract/index.js';
import type { AppendResult, EventStore, StreamAppend } from '../../../events/store/event-store.js';
import type { Clock } from '../../../platform/clock.js';
import type { Scheduler } from '../../../platform/scheduler.js';
import { type AccountState, type ClosedReservation, evolve, type OpenReservation } from '../domain/account-state.js';
import { type AccountCommand, commandIdOf, commandIdOfEvent } from '../domain/commands.js';
import { decide, type Refusal } from '../domain/decide.js';
import { LedgerUnavailableError } from '../ledger-client.js';
import type { SnapshotStore } from '../snapshots/snapshot-store.js';
import { type LoadedAccount, loadAccount, snapshotOf } from './account-loader.js';
import {
  ACCOUNTS_CACHED_MAX,
  ACCOUNTS_PER_APPEND_MAX,
  ACCOUNTS_PER_APPEND_MIN,
  APPEND_ATTEMPTS_MAX,
  APPEND_RETRY_DELAY_MS,
  APPENDS_IN_FLIGHT_MAX,
  COMMAND_TIMEOUT_MS,
  COMMANDS_PER_APPEND_MAX,
  COMMANDS_QUEUED_MAX,
  SNAPSHOT_EVENTS,
  TIMEOUT_SWEEP_MS,
} from './bounds.js';

/** The account as it stood right after a command (or at a reading), durable when it is handed out. */
export type CommandOutcome = {
  readonly kind: 'accepted' | 'unchanged' | 'rejected';
  readonly refusal: Refusal | null;
  readonly unit: string | null;
  readonly availableNanos: bigint;
  readonly heldNanos: bigint;
  /** Revision of the account's last event, or -1. */
  readonly revision: number;
  /** The reservation that the command names, if it does. */
  readonly open: OpenReservation | null;
  readonly closed: ClosedReservation | null;
};

/** A question about an account, answered in turn with its commands. */
type Reading = { readonly type: 'ReadAccount'; readonly accountId: string; readonly runId: string | null };

type Pending = {
  readonly request: AccountCommand | Reading;
  readonly submittedMs: number;
  readonly resolve: (outcome: CommandOutcome) => void;
  readonly reject: (error: unknown) => void;
  attempts: number;
  /** The caller has been told that the outcome is unknown. */
  timedOut: boolean;
};

type Entry = {
  readonly accountId: string;
  loaded: LoadedAccount | null;
  revision: number;
  queue: Pending[];
  /** Loading or appending: the queue waits. */
  busy: boolean;
};

/** One account's share of an append. */
type Plan = {
  readonly entry: Entry;
  readonly events: readonly NewEvent[];
  readonly answers: readonly Answer[];
};

type Answer = { readonly pending: Pending; readonly outcome: CommandOutcome };

export type AccountLedgerOptions = {
  readonly store: EventStore;
  readonly snapshots: SnapshotStore;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly logger: Logger;
  /** Told of a reservation that became durable after its caller had given up; its owner releases the hold. */
  readonly onOrphanedReservation?: (accountId: string, runId: string) => void;
  /** `SNAPSHOT_EVENTS` unless the simulation wants snapshots within its short histories. */
  readonly snapshotEvents?: number;
  /** The domain's own unless the simulation plants a bug, to show that it would be found. */
  readonly rules?: LedgerRules;
};

/** What the shell takes from the domain, and how it links an account's events. */
export type LedgerRules = { readonly decide: typeof decide; readonly evolve: typeof evolve; readonly chainAfter?: typeof chainAfter };

const DOMAIN_RULES: LedgerRules = { decide, evolve };

export class AccountLedger {
  readonly #options: AccountLedgerOptions;
  readonly #rules: Required<LedgerRules>;
  /** Least recently used first. */
  readonly #entries = new Map<string, Entry>();
  readonly #ready = new Set<Entry>();
  /** Oldest first. */
  readonly #pending = new Set<Pending>();
  #appendsInFlight = 0;
  #isPumpDeferred = false;
  #isSweepScheduled = false;

  constructor(options: AccountLedgerOptions) {
    this.#options = options;
    this.#rules = { chainAfter, ...(options.rules ?? DOMAIN_RULES) };
  }

  /** Resolves when the command's effect is durable. Rejects with `LedgerUnavailableError` when that could not be learnt in time. */
  submit(command: AccountCommand): Promise<CommandOutcome> {
    return this.#enqueue(command);
  }

  /** The account's durable state, after every command submitted before; `runId` names a reservation to look at. */
  read(accountId: string, runId: string | null = null): Promise<CommandOutcome> {
    return this.#enqueue({ type: 'ReadAccount', accountId, runId });
  }

  /** Facts as they are stored. Rejects with `LedgerUnavailableError`. */
  async events(accountId: string, fromRevision: number, maxCount: number): Promise<RecordedEvent[]> {
    try {
      return await this.#options.store.readStream(accountStream(accountId), { fromRevision, maxCount });
    } catch (error) {
      throw new LedgerUnavailableError('the event store did not answer', { cause: error });
    }
  }

  /** Commands that wait or are being written; returns to zero. */
  get pendingCommands(): number {
    return this.#pending.size;
  }

  get cachedAccounts(): number {
    return this.#entries.size;
  }

  #enqueue(request: AccountCommand | Reading): Promise<CommandOutcome> {
    if (this.#pending.size >= COMMANDS_QUEUED_MAX) return Promise.reject(new LedgerUnavailableError('the ledger is overloaded'));
    return new Promise((resolve, reject) => {
      const pending: Pending = { request, submittedMs: this.#options.clock.nowMs(), resolve, reject, attempts: 0, timedOut: false };
      this.#pending.add(pending);
      const entry = this.#entryOf(request.accountId);
      entry.queue.push(pending);
      this.#markReady(entry);
      this.#scheduleSweep();
    });
  }

  #entryOf(accountId: string): Entry {
    const known = this.#entries.get(accountId);
    if (known !== undefined) {
      this.#entries.delete(accountId);
      this.#entries.set(accountId, known);
      return known;
    }
    const entry: Entry = { accountId, loaded: null, revision: -1, queue: [], busy: false };
    this.#entries.set(accountId, entry);
    if (this.#entries.size > ACCOUNTS_CACHED_MAX) this.#evictOldestIdle();
    return entry;
  }

  #evictOldestIdle(): void {
    for (const entry of this.#entries.values()) {
      if (entry.busy || entry.queue.length > 0) continue;
      this.#entries.delete(entry.accountId);
      return;
    }
  }

  #markReady(entry: Entry): void {
    if (entry.busy || entry.queue.length === 0) return;
    if (entry.loaded === null) {
      this.#load(entry);
      return;
    }
    this.#ready.add(entry);
    if (this.#isPumpDeferred) return;
    this.#isPumpDeferred = true;
    // Deferred, so that all requests of this turn of the event loop share an append.
    this.#options.scheduler.defer(() => {
      this.#isPumpDeferred = false;
      this.#pump();
    });
  }

  #load(entry: Entry): void {
    entry.busy = true;
    loadAccount(entry.accountId, this.#options.store, this.#options.snapshots, this.#rules.evolve).then(
      (loaded) => {
        entry.loaded = loaded;
        entry.revision = loaded.revision;
        entry.busy = false;
        this.#markReady(entry);
      },
      (error: unknown) => {
        entry.busy = false;
        this.#options.logger.warn({ err: error, accountId: entry.accountId }, 'account could not be loaded');
        for (const pending of entry.queue.splice(0))
          this.#fail(pending, new LedgerUnavailableError('account could not be loaded', { cause: error }));
      },
    );
  }

  #pump(): void {
    while (this.#ready.size > 0 && this.#appendsInFlight < APPENDS_IN_FLIGHT_MAX) {
      const plans: Plan[] = [];
      const share = shareOf(this.#ready.size, APPENDS_IN_FLIGHT_MAX - this.#appendsInFlight);
      for (const entry of this.#ready) {
        if (plans.length === share) break;
        this.#ready.delete(entry);
        const plan = this.#plan(entry);
        if (plan !== null) plans.push(plan);
      }
      if (plans.length === 0) continue;
      this.#appendsInFlight += 1;
      void this.#write(plans).finally(() => {
        this.#appendsInFlight -= 1;
        this.#pump();
      });
    }
  }

  /** Decides what waits for one account. Answers at once, and returns `null`, when nothing has to be written. */
  #plan(entry: Entry): Plan | null {
    const { loaded } = entry;
    if (loaded === null) return null;
    const batch = entry.queue.splice(0, COMMANDS_PER_APPEND_MAX);
    const events: NewEvent[] = [];
    const answers: Answer[] = [];
    try {
      for (const pending of batch) {
        if (pending.timedOut) continue;
        answers.push({ pending, outcome: this.#decideOne(pending.request, loaded, entry.revision, events) });
      }
    } catch (error) {
      // The state may be half changed: forget it, tell the callers, keep the store as it is.
      this.#options.logger.error({ err: error, accountId: entry.accountId }, 'account invariant broken');
      entry.loaded = null;
      for (const pending of batch) this.#fail(pending, error);
      this.#markReady(entry);
      return null;
    }
    if (events.length === 0) {
      this.#answerWithoutWriting(entry, answers);
      return null;
    }
    entry.busy = true;
    return { entry, events, answers };
  }

  /**
   * Nothing is written, so no expected revision vouches for the state: another writer, or an append of ours that was given up and landed late,
   * may have moved the stream on. Only a look behind its end does: what stands there makes the state be read and the batch decided again.
   */
  #answerWithoutWriting(entry: Entry, answers: readonly Answer[]): void {
    entry.busy = true;
    this.#options.store.readStream(accountStream(entry.accountId), { fromRevision: entry.revision + 1, maxCount: 1 }).then(
      (tail) => {
        entry.busy = false;
        if (tail.length === 0) for (const { pending, outcome } of answers) this.#answer(pending, outcome);
        else {
          entry.loaded = null;
          entry.queue.unshift(...answers.map(({ pending }) => pending));
        }
        this.#markReady(entry);
      },
      (error: unknown) => {
        entry.busy = false;
        for (const { pending } of answers)
          this.#fail(pending, new LedgerUnavailableError('the event store did not answer', { cause: error }));
        this.#markReady(entry);
      },
    );
  }

  /** Decides and folds one request, adding its events to `events`. */
  #decideOne(request: AccountCommand | Reading, loaded: LoadedAccount, revisionBefore: number, events: NewEvent[]): CommandOutcome {
    const { state } = loaded;
    if (request.type === 'ReadAccount') return outcomeOf('unchanged', null, state, revisionBefore + events.length, request.runId);
    const nowMs = this.#options.clock.nowMs();
    const decision = this.#rules.decide(request, state, nowMs);
    if (decision.kind === 'accepted') {
      for (const event of decision.events) {
        this.#rules.evolve(state, event);
        const unlinked = toNewEvent(event, { commandId: commandIdOfEvent(request, event), nowMs });
        // Dropped with the state when the append fails: what comes before the event is then read anew, and its hash with it.
        loaded.chain = this.#rules.chainAfter(loaded.chain, unlinked);
        events.push({ ...unlinked, metadata: { ...unlinked.metadata, chain: loaded.chain } });
      }
    }
    const refusal = decision.kind === 'rejected' ? decision.refusal : null;
    return outcomeOf(decision.kind, refusal, state, revisionBefore + events.length, 'runId' in request ? request.runId : null);
  }

  async #write(plans: readonly Plan[]): Promise<void> {
    const appends = plans.map(({ entry, events }) => ({
      stream: accountStream(entry.accountId),
      expectedRevision: entry.revision,
      events,
    }));
    let results: AppendResult[];
    try {
      results = await this.#appendWithRetries(appends);
    } catch (error) {
      this.#options.logger.error({ err: error, accounts: plans.length }, 'append outcome unknown');
      for (const plan of plans) this.#abandon(plan, error);
      return;
    }
    plans.forEach((plan, index) => {
      const result = results[index];
      if (result?.status === 'appended' && !result.replayed) {
        this.#commit(plan, result.revision);
        return;
      }
      // Found already written: by an earlier try of ours, or by another ledger that ended the same run differently under the same ids.
      if (result?.status === 'appended')
        for (const { pending, outcome } of plan.answers) if (pending.timedOut) this.#reportOrphan(pending, outcome);
      this.#redecide(plan);
    });
  }

  /** An append whose answer was lost is tried again with the same ids; the store recognises what it has already written. */
  async #appendWithRetries(appends: readonly StreamAppend[]): Promise<AppendResult[]> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#options.store.append(appends);
      } catch (error) {
        if (attempt === APPEND_ATTEMPTS_MAX) throw error;
        this.#options.logger.warn({ err: error, attempt }, 'append failed, trying again');
        await new Promise<void>((resume) => this.#options.scheduler.delay(resume, APPEND_RETRY_DELAY_MS * 2 ** attempt));
      }
    }
  }

  #commit(plan: Plan, revision: number): void {
    const { entry } = plan;
    const decidedRevision = entry.revision + plan.events.length;
    entry.revision = decidedRevision;
    // A replayed append may have been followed by another writer's: then the cached state is behind and is read again.
    if (revision !== decidedRevision) entry.loaded = null;
    for (const { pending, outcome } of plan.answers) {
      if (pending.timedOut) this.#reportOrphan(pending, outcome);
      else this.#answer(pending, outcome);
    }
    this.#snapshotIfDue(entry);
    entry.busy = false;
    this.#markReady(entry);
  }

  /** Somebody else wrote to the stream: what was decided on the old state counts for nothing. */
  #redecide(plan: Plan): void {
    const { entry } = plan;
    entry.loaded = null;
    entry.busy = false;
    const again: Pending[] = [];
    for (const { pending } of plan.answers) {
      pending.attempts += 1;
      if (pending.attempts < APPEND_ATTEMPTS_MAX) again.push(pending);
      else this.#fail(pending, new LedgerUnavailableError('the account is being written by others; try again'));
    }
    entry.queue = [...again, ...entry.queue];
    this.#markReady(entry);
  }

  #abandon(plan: Plan, error: unknown): void {
    const { entry } = plan;
    entry.loaded = null;
    entry.busy = false;
    for (const { pending, outcome } of plan.answers) {
      this.#fail(pending, new LedgerUnavailableError('the event store did not answer', { cause: error }));
      this.#reportOrphan(pending, outcome);
    }
    this.#markReady(entry);
  }

  #reportOrphan(pending: Pending, outcome: CommandOutcome): void {
    this.#pending.delete(pending);
    const { request } = pending;
    if (request.type === 'ReserveCredit' && outcome.kind !== 'rejected')
      this.#options.onOrphanedReservation?.(request.accountId, request.runId);
  }

  #snapshotIfDue(entry: Entry): void {
    const { loaded, revision } = entry;
    if (loaded === null || revision - loaded.snapshotRevision < (this.#options.snapshotEvents ?? SNAPSHOT_EVENTS)) return;
    entry.loaded = { ...loaded, snapshotRevision: revision };
    this.#options.snapshots.save(entry.accountId, { revision, state: snapshotOf(loaded) }).catch((error: unknown) => {
      this.#options.logger.warn({ err: error, accountId: entry.accountId }, 'snapshot not saved');
    });
  }

  #answer(pending: Pending, outcome: CommandOutcome): void {
    this.#pending.delete(pending);
    pending.resolve(outcome);
  }

  #fail(pending: Pending, error: unknown): void {
    this.#pending.delete(pending);
    pending.reject(error);
  }

  #scheduleSweep(): void {
    if (this.#isSweepScheduled) return;
    this.#isSweepScheduled = true;
    this.#options.scheduler.delay(() => {
      this.#isSweepScheduled = false;
      this.#failOverdue();
      if (this.#pending.size > 0) this.#scheduleSweep();
    }, TIMEOUT_SWEEP_MS);
  }

  #failOverdue(): void {
    const overdueMs = this.#options.clock.nowMs() - COMMAND_TIMEOUT_MS;
    for (const pending of this.#pending) {
      if (pending.submittedMs > overdueMs) return;
      pending.timedOut = true;
      this.#fail(pending, new LedgerUnavailableError(`${nameOf(pending.request)} was not durable within ${COMMAND_TIMEOUT_MS} ms`));
    }
  }
}

/** Accounts for the next append, of which `appendsFree` may still start. */
function shareOf(accountsReady: number, appendsFree: number): number {
  const evenShare = Math.ceil(accountsReady / appendsFree);
  return Math.min(ACCOUNTS_PER_APPEND_MAX, Math.max(ACCOUNTS_PER_APPEND_MIN, evenShare));
}

function outcomeOf(
  kind: CommandOutcome['kind'],
  refusal: Refusal | null,
  state: AccountState,
  revision: number,
  runId: string | null,
): CommandOutcome {
  return {
    kind,
    refusal,
    unit: state.opened?.unit ?? null,
    availableNanos: state.availableNanos,
    heldNanos: state.heldNanos,
    revision,
    open: runId === null ? null : (state.open.get(runId) ?? null),
    closed: runId === null ? null : (state.closed.get(runId) ?? null),
  };
}

function nameOf(request: AccountCommand | Reading): string {
  return request.type === 'ReadAccount' ? request.type : `${request.type} ${commandIdOf(request)}`;
}

/** The event that a grant leaves, known beforehand because ids derive from commands. */
export function grantEventId(command: Extract<AccountCommand, { type: 'GrantCredit' }>): string {
  return eventIdOf(commandIdOf(command), 'CreditGranted');
}
