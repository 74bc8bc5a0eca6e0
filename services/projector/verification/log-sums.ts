/** What the log says: the same fold as the views', gathered in the sums that `view-sums.ts` reads. Memory grows with accounts, not events. */
import { BEFORE_EVERYTHING, type Position } from '../../../events/contract/index.js';
import type { EventStore } from '../../../events/store/event-store.js';
import type { JournalRow } from '../domain/journal.js';
import type { PaymentRow } from '../domain/payments.js';
import { applyEvent, noChanges, type PastContext, type ReadModelChanges } from '../domain/read-model-changes.js';
import { type RequestChange, takeSettled } from '../domain/requests.js';
import type { UsageQuarterChange } from '../domain/usage-quarters.js';
import type { CheckedView, Sums, ViewSums } from './view-sums.js';

/** As in a rebuild: larger pages cost more per event. */
const VERIFY_PAGE_EVENTS = 2_000;

type Tally = Map<string, Record<string, bigint>>;

/** Folds the log up to and including `end`. */
export async function foldLogSums(store: EventStore, end: Position): Promise<{ readonly events: number; readonly sums: ViewSums }> {
  const past: PastContext = { accounts: new Map(), openRuns: new Map() };
  const changes = noChanges();
  const tallies = { requests: new Map(), usage_quarters: new Map(), journal: new Map() } satisfies Partial<Record<CheckedView, Tally>>;
  let position = BEFORE_EVERYTHING;
  while (position < end) {
    const page = await store.readAll(position, VERIFY_PAGE_EVENTS);
    if (page.length === 0) break;
    for (const event of page) if (event.position <= end) applyEvent(changes, past, event);
    for (const request of takeSettled(changes.requests)) addRequest(tallies.requests, request);
    for (const row of changes.journal) addJournalRow(tallies.journal, row);
    for (const row of changes.usageQuarters.values()) addUsage(tallies.usage_quarters, row);
    changes.journal = [];
    changes.usageQuarters.clear();
    position = page.at(-1)?.position ?? end;
  }
  for (const request of changes.requests.values()) addRequest(tallies.requests, request);
  return { events: changes.events, sums: { ...tallies, ...keyedSums(changes), payments: paymentSums(changes.payments.values()) } };
}

function add(tally: Tally, key: string, amounts: Sums): void {
  const sums = tally.get(key) ?? {};
  for (const [name, amount] of Object.entries(amounts)) sums[name] = (sums[name] ?? 0n) + amount;
  tally.set(key, sums);
}

function paymentSums(rows: Iterable<PaymentRow>): Tally {
  const tally: Tally = new Map();
  for (const row of rows) {
    add(tally, `${row.provider} ${row.unit} ${row.environment}`, {
      payments: 1n,
      verified_nanos: row.verifiedNanos,
      credited_nanos: row.creditedNanos,
      clawed_back_nanos: row.clawedBackNanos,
      reversed_minor: row.reversedMinor,
      unbooked: BigInt(row.unbooked),
      revisions: BigInt(row.revision),
    });
  }
  return tally;
}

function addRequest(tally: Tally, { reserved, usage, refund, settled }: RequestChange): void {
  if (reserved === null) return;
  add(tally, reserved.accountId, {
    runs: 1n,
    [settled?.outcome ?? 'reserved']: 1n,
    held_nanos: reserved.heldNanos,
    charged_nanos: usage?.chargedNanos ?? 0n,
    refunded_nanos: refund?.refundedNanos ?? 0n,
    prompt_tokens: BigInt(usage?.usage.promptTokens ?? 0),
    cached_tokens: BigInt(usage?.usage.cachedTokens ?? 0),
    completion_tokens: BigInt(usage?.usage.completionTokens ?? 0),
    audio_ms: BigInt(usage?.usage.audio?.milliseconds ?? 0),
  });
}

function addJournalRow(tally: Tally, { accountId, amountNanos, creditAccount, revision }: JournalRow): void {
  const revenueNanos = creditAccount === 'revenue' ? amountNanos : 0n;
  add(tally, accountId, { lines: 1n, amount_nanos: amountNanos, revenue_nanos: revenueNanos, revisions: BigInt(revision) });
}

function addUsage(tally: Tally, row: UsageQuarterChange): void {
  add(tally, `${row.projectId} ${row.consumerId} ${row.model}`, {
    requests: BigInt(row.requests),
    completed: BigInt(row.completed),
    cancelled: BigInt(row.cancelled),
    failed: BigInt(row.failed),
    expired: BigInt(row.expired),
    prompt_tokens: BigInt(row.promptTokens),
    cached_tokens: BigInt(row.cachedTokens),
    completion_tokens: BigInt(row.completionTokens),
    charged_nanos: row.chargedNanos,
    // A request that is counted in another quarter changes this.
    quarters: BigInt(row.quarterStartMs / 1_000) * BigInt(row.requests),
  });
}

/** The views with one row per account, consumer or ledger account. */
function keyedSums(changes: ReadModelChanges): Pick<ViewSums, 'account_balances' | 'consumer_billing' | 'trial_balance'> {
  const mapped = <Row>(rows: ReadonlyMap<string, Row>, sumsOf: (row: Row) => Sums) =>
    new Map([...rows].map(([key, row]) => [key, sumsOf(row)]));
  return {
    account_balances: mapped(changes.accountBalances, (row) => ({
      available_nanos: row.availableNanos,
      held_nanos: row.heldNanos,
      charged_nanos: row.chargedNanos,
      granted_nanos: row.grantedNanos,
      revision: BigInt(row.account.revision),
    })),
    consumer_billing: mapped(changes.consumerBilling, (row) => ({
      granted_nanos: row.grantedNanos,
      charged_nanos: row.chargedNanos,
      requests: BigInt(row.requests),
    })),
    trial_balance: mapped(changes.trialBalance, (row) => ({ balance_nanos: row.balanceNanos, postings: BigInt(row.postings) })),
  };
}
