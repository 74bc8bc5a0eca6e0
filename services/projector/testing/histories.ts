/** Valid account histories for tests and benchmarks, made by the real decider. Deterministic. */
import { chainAfter } from '../../../events/account-chain.js';
import { accountIdOf, accountStream, makeId, type NewEvent, type RecordedEvent, toNewEvent } from '../../../events/contract/index.js';
import { type AccountState, emptyAccount, evolve } from '../../ledger/domain/account-state.js';
import { type AccountCommand, commandIdOfEvent, EXPIRY_GRACE_MS } from '../../ledger/domain/commands.js';
import { decide } from '../../ledger/domain/decide.js';
import type { AccountOpening } from '../../ledger/ledger-client.js';
import { PER_RUN, USD } from '../../ledger/testing/examples.js';

export type HistoryOptions = {
  readonly accounts: number;
  readonly runsPerAccount: number;
  readonly startMs?: number;
  /** Between two runs of one account. */
  readonly stepMs?: number;
  /** Runs at the end of each account that stay reserved. */
  readonly openRuns?: number;
  /** How many later runs are reserved before one ends; 0 by default. */
  readonly overlap?: number;
};

/** One stream's share of a history. */
export type StreamHistory = { readonly stream: string; readonly events: readonly NewEvent[] };

/** Every second account is a consumer of the project before it. Runs complete, fail, are cancelled and expire in turn. */
export function makeStreamHistories(options: HistoryOptions): StreamHistory[] {
  return Array.from({ length: options.accounts }, (_, n) => makeStreamHistory(n, options));
}

/** The same as one log: the streams interleaved, with positions as a store would give them. */
export function makeLog(options: HistoryOptions): RecordedEvent[] {
  const histories = makeStreamHistories(options);
  const log: RecordedEvent[] = [];
  const longest = Math.max(...histories.map((history) => history.events.length));
  for (let revision = 0; revision < longest; revision += 1) {
    for (const { stream, events } of histories) {
      const event = events[revision];
      if (event !== undefined) log.push({ ...event, stream, revision, position: String(log.length).padStart(16, '0') });
    }
  }
  return log;
}

function makeStreamHistory(n: number, options: HistoryOptions): StreamHistory {
  const startMs = options.startMs ?? 1_790_000_000_000;
  const isConsumer = n % 2 === 1;
  const projectId = idOf('prj', n - (n % 2));
  const holderId = isConsumer ? idOf('con', n) : projectId;
  const accountId = accountIdOf(holderId);
  const opening: AccountOpening = {
    holder: isConsumer ? { kind: 'consumer', projectId, consumerId: holderId } : { kind: 'project', projectId },
    unit: 'USD',
    environment: 'live',
    starterNanos: USD,
  };
  const history = new History(accountId);
  history.apply(
    { type: 'GrantCredit', accountId, grantId: idOf('grt', n), opening, kind: 'top_up', amountNanos: 1_000_000n * USD, reason: 'test' },
    startMs,
  );
  const runs = { history, accountId, opening, keyId: idOf('key', n), startMs, stepMs: options.stepMs ?? 1_000 };
  const runIdOf = (run: number) => idOf('run', n * 1_000_000 + run);
  const overlap = options.overlap ?? 0;
  const endedRuns = options.runsPerAccount - (options.openRuns ?? 0);
  for (let run = 0; run < options.runsPerAccount + overlap; run += 1) {
    if (run < options.runsPerAccount) reserve(runs, run, runIdOf(run));
    const ending = run - overlap;
    if (ending >= 0 && ending < endedRuns) end(runs, ending, runIdOf(ending));
  }
  return { stream: accountStream(accountId), events: history.events };
}

type Runs = {
  readonly history: History;
  readonly accountId: string;
  readonly opening: AccountOpening;
  readonly keyId: string;
  readonly startMs: number;
  readonly stepMs: number;
};

const RUN_TIMEOUT_MS = 60_000;

function reserve({ history, accountId, opening, keyId, startMs, stepMs }: Runs, run: number, runId: string): void {
  const nowMs = startMs + run * stepMs;
  history.apply(
    {
      type: 'ReserveCredit',
      accountId,
      runId,
      opening,
      keyId,
      model: `model-${run % 3}`,
      priceVersion: 'test',
      terms: PER_RUN,
      promptTokensMax: 100,
      outputTokensMax: 6_000,
      outputTokensExplicit: false,
      cancelPolicy: 'charge_generated',
      deadlineMs: nowMs + RUN_TIMEOUT_MS,
      ...(run % 4 === 0 ? { audio: audioOf(run) } : {}),
      ...(run % 2 === 0 ? { requestHash: 'a'.repeat(64) } : {}),
    },
    nowMs,
  );
}

const audioOf = (run: number) => ({ bytes: 1_000 + run, milliseconds: 60_000 + run });

const ENDINGS = ['completed', 'completed', 'failed', 'cancelled', 'expired'] as const;

function end({ history, accountId, startMs, stepMs }: Runs, run: number, runId: string): void {
  const nowMs = startMs + run * stepMs;
  const outcome = ENDINGS[run % ENDINGS.length] ?? 'completed';
  if (outcome === 'expired') {
    history.apply({ type: 'ExpireReservation', accountId, runId }, nowMs + RUN_TIMEOUT_MS + EXPIRY_GRACE_MS);
    return;
  }
  history.apply(
    {
      type: 'SettleReservation',
      accountId,
      runId,
      outcome,
      finishReason: outcome === 'completed' ? 'stop' : null,
      usage: {
        promptTokens: 50,
        cachedTokens: run % 7,
        completionTokens: 10 + (run % 100) * 55,
        ...(run % 4 === 0 ? { audio: audioOf(run) } : {}),
      },
      errorCode: outcome === 'failed' ? 'engine_crashed' : null,
      attempt: 1,
      ...(outcome === 'completed' ? { responseHash: 'b'.repeat(64), systemFingerprint: 'fp_test' } : {}),
    },
    nowMs + 500,
  );
}

class History {
  readonly events: NewEvent[] = [];
  readonly #state: AccountState = emptyAccount();
  #chain: string | null = null;
  constructor(readonly accountId: string) {}

  apply(command: AccountCommand, nowMs: number): void {
    const decision = decide(command, this.#state, nowMs);
    if (decision.kind !== 'accepted') throw new Error(`history is not valid: ${JSON.stringify(decision)}`);
    for (const event of decision.events) {
      evolve(this.#state, event);
      const unlinked = toNewEvent(event, { commandId: commandIdOfEvent(command, event), nowMs });
      this.#chain = chainAfter(this.#chain, unlinked);
      this.events.push({ ...unlinked, metadata: { ...unlinked.metadata, chain: this.#chain } });
    }
  }
}

function idOf(prefix: 'prj' | 'con' | 'grt' | 'run' | 'key', n: number): string {
  const random = new Uint8Array(10);
  new DataView(random.buffer).setBigUint64(2, BigInt(n));
  return makeId(prefix, 1_790_000_000_000, random);
}
