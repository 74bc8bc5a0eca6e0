/**
 * Keeps its own books from the raw log, in its own plain arithmetic, and refuses every event that the rules of the house do not allow. It shares
 * no code with the ledger: only the JSON on the wire.
 */
import type { JsonObject, NewEvent } from '../../events/contract/envelope.js';
import type { GrantCredit, ReserveCredit } from '../../services/ledger/ledger-client.js';
import { naiveCharge, naiveHold } from './naive-prices.js';
import { mustHold, Violation } from './violation.js';

/** What the engine really did for a run; a run may be tried more than once. */
export type EngineEvidence = { readonly outcome: 'completed' | 'cancelled'; readonly usage: Usage; readonly text: string };
type Usage = { readonly promptTokens: number; readonly cachedTokens: number; readonly completionTokens: number };

export type OracleRun = {
  readonly accountId: string;
  readonly held: bigint;
  readonly asked: ReserveCredit;
  readonly deadlineMs: number;
  readonly usage: Usage | null;
  readonly charged: bigint | null;
  readonly refunded: bigint | null;
  readonly outcome: string | null;
  readonly attempt: number | null;
};

export type OracleAccount = {
  revision: number;
  isOpened: boolean;
  consumerId: string | null;
  projectId: string;
  /** What stands on each ledger account. */
  readonly balances: Map<string, bigint>;
  readonly grants: Map<string, bigint>;
  openRuns: number;
  /** Available and held after each revision. */
  readonly standings: string[];
};

export type LoggedEvent = { readonly stream: string; readonly revision: number; readonly event: NewEvent };

/** Time that a late result may take after the deadline before the hold is let go; the house's rule, restated. */
const EXPIRY_GRACE_MS = 10_000;

export class NaiveOracle {
  readonly log: LoggedEvent[] = [];
  readonly accounts = new Map<string, OracleAccount>();
  readonly runs = new Map<string, OracleRun>();
  readonly eventIds = new Map<string, LoggedEvent>();
  /** Filled by the clients before they ask. */
  readonly reservationsAsked = new Map<string, ReserveCredit[]>();
  readonly grantsAsked = new Map<string, GrantCredit>();
  readonly starters = new Map<string, bigint>();
  /** Filled by the engines before they answer. */
  readonly evidence = new Map<string, EngineEvidence[]>();

  balance(accountId: string, ledgerAccount: string): bigint {
    return this.accounts.get(accountId)?.balances.get(ledgerAccount) ?? 0n;
  }

  /** Told of each batch at the moment it is in the log. */
  onWritten(stream: string, firstRevision: number, events: readonly NewEvent[]): void {
    const accountId = stream.replace('account-', '');
    const account = this.#accountOf(accountId);
    events.forEach((event, index) => {
      const revision = firstRevision + index;
      mustHold(revision === account.revision + 1, '8 log', () => `${stream} goes from ${account.revision} to ${revision}`);
      const logged = { stream, revision, event };
      const twin = this.eventIds.get(event.id);
      mustHold(twin === undefined, '7 duplicates', () => `${event.type} at ${stream}/${revision} was written before at ${twin?.revision}`);
      this.eventIds.set(event.id, logged);
      this.log.push(logged);
      account.revision = revision;
      this.#apply(accountId, account, event);
      account.standings.push(`${this.balance(accountId, 'available')} available, ${this.balance(accountId, 'held')} held`);
    });
    mustHold(this.balance(accountId, 'available') >= 0n, '2 balance', () => `available of ${accountId} is negative`);
    mustHold(this.balance(accountId, 'held') >= 0n, '2 balance', () => `held of ${accountId} is negative`);
    mustHold(sum(account.balances.values()) === 0n, '1 postings', () => `the books of ${accountId} do not sum to zero`);
    const last = events.at(-1)?.type;
    mustHold(last !== 'UsageRecorded' && last !== 'CreditRefunded', '3 reservation', () => `${stream} ends a batch within a settlement`);
  }

  #accountOf(accountId: string): OracleAccount {
    let account = this.accounts.get(accountId);
    if (account === undefined) {
      account = {
        revision: -1,
        isOpened: false,
        consumerId: null,
        projectId: '',
        balances: new Map(),
        grants: new Map(),
        openRuns: 0,
        standings: [],
      };
      this.accounts.set(accountId, account);
    }
    return account;
  }

  #apply(accountId: string, account: OracleAccount, { type, data, metadata }: NewEvent): void {
    mustHold(
      data['accountId'] === accountId,
      '2 balance',
      () => `${type} of ${String(data['accountId'])} is in the stream of ${accountId}`,
    );
    mustHold(
      account.isOpened !== (type === 'AccountOpened'),
      '2 balance',
      () => `${type} on an account that is ${account.isOpened ? '' : 'not '}open`,
    );
    const moved = post(account.balances, data['postings']);
    switch (type) {
      case 'AccountOpened':
        this.#open(account, data);
        return;
      case 'CreditGranted':
        this.#grant(accountId, account, data, moved);
        return;
      case 'CreditReserved':
        this.#reserve(accountId, account, data, moved);
        return;
      case 'UsageRecorded':
        this.#record(data, moved);
        return;
      case 'CreditRefunded':
        this.#refund(data, moved);
        return;
      case 'ReservationSettled':
        this.#settle(account, data, metadata.occurredAtMs);
        return;
      default:
        throw new Violation('8 log', `${type} is no event of an account`);
    }
  }

  #open(account: OracleAccount, data: JsonObject): void {
    const holder = data['holder'] as { projectId: string; consumerId?: string };
    account.isOpened = true;
    account.projectId = holder.projectId;
    account.consumerId = holder.consumerId ?? null;
  }

  #grant(accountId: string, account: OracleAccount, data: JsonObject, moved: string): void {
    const grantId = data['grantId'] as string;
    const amount = BigInt(data['amountNanos'] as string);
    mustHold(!account.grants.has(grantId), '7 duplicates', () => `grant ${grantId} credited twice`);
    const asked = data['kind'] === 'starter' ? this.starters.get(accountId) : this.grantsAsked.get(grantId)?.amountNanos;
    mustHold(asked === amount, '13 grants', () => `grant ${grantId} of ${amount} where ${asked} was asked`);
    const source = { starter: 'promotions', adjustment: 'adjustments', top_up: 'payments:manual' }[data['kind'] as string] ?? '?';
    const expected = amount > 0n ? `${source}>available:${amount}` : `available>${source}:${-amount}`;
    mustHold(moved === expected, '1 postings', () => `grant ${grantId} moved ${moved}`);
    account.grants.set(grantId, amount);
  }

  #reserve(accountId: string, account: OracleAccount, data: JsonObject, moved: string): void {
    const runId = data['runId'] as string;
    const held = BigInt(data['heldNanos'] as string);
    const budget = data['outputTokensBudget'] as number;
    const asked = this.reservationsAsked.get(runId)?.find((one) => one.accountId === accountId && one.deadlineMs === data['deadlineMs']);
    if (asked === undefined) throw new Violation('6 runs', `run ${runId} of ${accountId} was never asked for`);
    mustHold(!this.runs.has(runId), '3 reservation', () => `run ${runId} is held twice`);
    mustHold(moved === (held === 0n ? '' : `available>held:${held}`), '1 postings', () => `hold of ${held} moved ${moved}`);
    const hold = naiveHold(asked.terms, asked.promptTokensMax, budget);
    mustHold(hold === held, '3 reservation', () => `run ${runId} holds ${held} where its terms give ${hold}`);
    const fits = asked.outputTokensExplicit ? budget === asked.outputTokensMax : budget > 0 && budget <= asked.outputTokensMax;
    mustHold(fits, '3 reservation', () => `run ${runId} may generate ${budget} of ${asked.outputTokensMax}`);
    const before = this.balance(accountId, 'available') + held;
    const isWidest = budget === asked.outputTokensMax || naiveHold(asked.terms, asked.promptTokensMax, budget + 1) > before;
    mustHold(isWidest, '3 reservation', () => `run ${runId} was shortened to ${budget} although ${before} affords more`);
    account.openRuns += 1;
    const { deadlineMs } = asked;
    this.runs.set(runId, { accountId, held, asked, deadlineMs, usage: null, charged: null, refunded: null, outcome: null, attempt: null });
  }

  #record(data: JsonObject, moved: string): void {
    const runId = data['runId'] as string;
    const charged = BigInt(data['chargedNanos'] as string);
    const run = this.#openRun(runId);
    mustHold(run.charged === null, '3 reservation', () => `run ${runId} is charged twice`);
    mustHold(charged >= 0n && charged <= run.held, '3 reservation', () => `run ${runId} is charged ${charged} of ${run.held}`);
    mustHold(moved === (charged === 0n ? '' : `held>revenue:${charged}`), '1 postings', () => `charge of ${charged} moved ${moved}`);
    this.runs.set(runId, { ...run, charged, usage: data['usage'] as unknown as Usage });
  }

  #refund(data: JsonObject, moved: string): void {
    const runId = data['runId'] as string;
    const refunded = BigInt(data['refundedNanos'] as string);
    const run = this.#openRun(runId);
    mustHold(run.charged !== null && run.refunded === null, '3 reservation', () => `run ${runId} is refunded out of turn`);
    mustHold(
      refunded === run.held - (run.charged ?? 0n),
      '3 reservation',
      () => `run ${runId}: ${run.charged} charged, ${refunded} refunded of ${run.held}`,
    );
    mustHold(moved === (refunded === 0n ? '' : `held>available:${refunded}`), '1 postings', () => `refund of ${refunded} moved ${moved}`);
    this.runs.set(runId, { ...run, refunded });
  }

  #settle(account: OracleAccount, data: JsonObject, occurredAtMs: number): void {
    const runId = data['runId'] as string;
    const outcome = data['outcome'] as string;
    const run = this.#openRun(runId);
    mustHold(run.refunded !== null, '3 reservation', () => `run ${runId} is settled without a refund`);
    const amounts = [BigInt(data['chargedNanos'] as string), BigInt(data['refundedNanos'] as string)];
    mustHold(
      amounts[0] === run.charged && amounts[1] === run.refunded,
      '3 reservation',
      () => `run ${runId} settles at ${amounts.join(' + ')}`,
    );
    this.#mustBeOwed(runId, run, outcome);
    const isOverdue = occurredAtMs >= run.deadlineMs + EXPIRY_GRACE_MS;
    if (outcome === 'expired')
      mustHold(isOverdue, '4 expiry', () => `run ${runId} expired ${run.deadlineMs - occurredAtMs} ms before its deadline`);
    else mustHold(run.charged === 0n || !isOverdue, '4 expiry', () => `run ${runId} is charged ${run.charged} after it has expired`);
    account.openRuns -= 1;
    this.runs.set(runId, { ...run, outcome, attempt: data['attempt'] as number });
  }

  /** A charge needs an engine's result, and is what the asked terms make of it. */
  #mustBeOwed(runId: string, run: OracleRun, outcome: string): void {
    const usage = run.usage as Usage;
    const isByPolicy = outcome === 'cancelled' && run.asked.cancelPolicy === 'charge_generated' && usage.completionTokens > 0;
    const owed = outcome === 'completed' || isByPolicy ? min(naiveCharge(run.asked.terms, usage), run.held) : 0n;
    mustHold(run.charged === owed, '6 charges', () => `${outcome} run ${runId} is charged ${run.charged} where ${owed} is owed`);
    if (outcome !== 'completed' && outcome !== 'cancelled') return;
    const results = this.evidence.get(runId) ?? [];
    const isWitnessed = results.some((result) => result.outcome === outcome && isSameUsage(result.usage, usage));
    const isNothing = outcome === 'cancelled' && run.charged === 0n;
    mustHold(isWitnessed || isNothing, '6 charges', () => `${outcome} run ${runId}: no engine reported ${JSON.stringify(usage)}`);
  }

  #openRun(runId: string): OracleRun {
    const run = this.runs.get(runId);
    if (run === undefined) throw new Violation('6 runs', `run ${runId} has no hold`);
    mustHold(run.outcome === null, '3 reservation', () => `run ${runId} ends a second time`);
    return run;
  }
}

/** Moves the money and says what moved, such as `held>revenue:12`. */
function post(balances: Map<string, bigint>, postings: unknown): string {
  if (!Array.isArray(postings)) return '';
  const moved: string[] = [];
  for (const { from, to, amountNanos } of postings as { from: string; to: string; amountNanos: string }[]) {
    const amount = BigInt(amountNanos);
    mustHold(amount > 0n && from !== to, '1 postings', () => `a posting moves ${amountNanos} from ${from} to ${to}`);
    balances.set(from, (balances.get(from) ?? 0n) - amount);
    balances.set(to, (balances.get(to) ?? 0n) + amount);
    moved.push(`${from}>${to}:${amount}`);
  }
  return moved.join(' ');
}

function sum(amounts: Iterable<bigint>): bigint {
  let total = 0n;
  for (const amount of amounts) total += amount;
  return total;
}

function min(left: bigint, right: bigint): bigint {
  return left < right ? left : right;
}

function isSameUsage(left: Usage, right: Usage): boolean {
  return (
    left.promptTokens === right.promptTokens && left.cachedTokens === right.cachedTokens && left.completionTokens === right.completionTokens
  );
}
