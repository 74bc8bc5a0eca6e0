/**
 * Checks the books against the log: folds every event up to the views' checkpoint and compares. What finance staff run before they close a
 * month, and what tests run after every storm.
 */
import type { Pool } from 'pg';
import { BEFORE_EVERYTHING } from '../../events/contract/index.js';
import type { EventStore } from '../../events/store/event-store.js';
import { applyEvent, noChanges, type PastContext, type ReadModelChanges } from './domain/read-model-changes.js';
import { inTransaction } from './postgres/apply-page.js';
import { readCheckpoint } from './postgres/read-past.js';
import { REBUILD_PAGE_EVENTS, takeSettled } from './rebuild.js';

/** One disagreement, in words: what the view says, what the log says. */
export type Discrepancy = { readonly check: string; readonly view: string; readonly log: string };

export type Verification = { readonly events: number; readonly position: string; readonly discrepancies: readonly Discrepancy[] };

type Totals = Readonly<Record<string, bigint>>;

/** Aggregates of one snapshot of the views; each has a counterpart in `totalsOfLog`. */
const VIEW_TOTALS_SQL = `
  select
    (select count(*) from read_model.account_balances)::text as accounts,
    (select coalesce(sum(available_nanos), 0) from read_model.account_balances)::text as available_nanos,
    (select coalesce(sum(held_nanos), 0) from read_model.account_balances)::text as held_nanos,
    (select coalesce(sum(charged_nanos), 0) from read_model.account_balances)::text as charged_nanos,
    (select coalesce(sum(granted_nanos), 0) from read_model.account_balances)::text as granted_nanos,
    (select coalesce(sum(revision + 1), 0) from read_model.account_balances)::text as events,
    (select count(*) from read_model.requests)::text as runs,
    (select count(*) from read_model.requests where status = 'reserved')::text as open_runs,
    (select coalesce(sum(charged_nanos), 0) from read_model.requests)::text as request_charged_nanos,
    (select coalesce(sum(completion_tokens), 0) from read_model.requests)::text as completion_tokens,
    (select coalesce(sum(requests), 0) from read_model.usage_quarters)::text as usage_requests,
    (select coalesce(sum(charged_nanos), 0) from read_model.usage_quarters)::text as usage_charged_nanos,
    (select coalesce(sum(completion_tokens), 0) from read_model.usage_quarters)::text as usage_completion_tokens,
    (select coalesce(sum(charged_nanos), 0) from read_model.consumer_billing)::text as consumer_charged_nanos,
    (select count(*) from read_model.journal)::text as journal_lines,
    (select coalesce(sum(amount_nanos), 0) from read_model.journal)::text as journal_nanos,
    (select coalesce(sum(balance_nanos), 0) from read_model.trial_balance)::text as trial_balance_nanos,
    (select coalesce(sum(abs(balance_nanos)), 0) from read_model.trial_balance)::text as trial_balance_absolute_nanos`;

export async function verifyReadModel(pool: Pool, store: EventStore): Promise<Verification> {
  const snapshot = await inTransaction(pool, async (client) => {
    await client.query('set transaction isolation level repeatable read read only');
    const position = await readCheckpoint(client, 'read_model');
    const { rows } = await client.query<Record<string, string>>(VIEW_TOTALS_SQL);
    const unbalanced = await client.query<{ unit: string; environment: string; sum: string }>(
      `select unit, environment, sum(balance_nanos)::text as sum from read_model.trial_balance group by unit, environment having sum(balance_nanos) <> 0`,
    );
    return { position, totals: rows[0] ?? {}, unbalanced: unbalanced.rows };
  });
  const folded = await foldUpTo(store, snapshot.position);
  const expected = totalsOfLog(folded);
  const discrepancies: Discrepancy[] = Object.entries(expected)
    .filter(([check, log]) => snapshot.totals[check] !== log.toString())
    .map(([check, log]) => ({ check, view: snapshot.totals[check] ?? 'nothing', log: log.toString() }));
  for (const { unit, environment, sum } of snapshot.unbalanced) {
    discrepancies.push({ check: `trial balance of ${unit}/${environment}`, view: sum, log: '0' });
  }
  return { events: folded.changes.events, position: snapshot.position, discrepancies };
}

/** Sums that a page adds to; keyed views stay in memory, runs and journal lines do not. */
type LogTotals = {
  runs: number;
  settled: number;
  chargedNanos: bigint;
  completionTokens: bigint;
  journalLines: number;
  journalNanos: bigint;
};

async function foldUpTo(store: EventStore, end: string): Promise<{ changes: ReadModelChanges; totals: LogTotals }> {
  const past: PastContext = { accounts: new Map(), openRuns: new Map() };
  const changes = noChanges();
  const totals: LogTotals = { runs: 0, settled: 0, chargedNanos: 0n, completionTokens: 0n, journalLines: 0, journalNanos: 0n };
  let position = BEFORE_EVERYTHING;
  while (position < end) {
    const page = await store.readAll(position, REBUILD_PAGE_EVENTS);
    if (page.length === 0) break;
    for (const event of page) if (event.position <= end) applyEvent(changes, past, event);
    addPage(totals, changes);
    position = page.at(-1)?.position ?? end;
  }
  totals.runs += changes.requests.size;
  return { changes, totals };
}

function addPage(totals: LogTotals, changes: ReadModelChanges): void {
  for (const request of takeSettled(changes)) {
    totals.runs += 1;
    totals.settled += 1;
    totals.chargedNanos += request.usage?.chargedNanos ?? 0n;
    totals.completionTokens += BigInt(request.usage?.usage.completionTokens ?? 0);
  }
  totals.journalLines += changes.journal.length;
  totals.journalNanos += sum(changes.journal.map((row) => row.amountNanos));
  changes.journal = [];
}

function totalsOfLog({ changes, totals }: { changes: ReadModelChanges; totals: LogTotals }): Totals {
  const balances = [...changes.accountBalances.values()];
  const usage = [...changes.usageQuarters.values()];
  const trial = [...changes.trialBalance.values()];
  return {
    accounts: BigInt(balances.length),
    available_nanos: sum(balances.map((balance) => balance.availableNanos)),
    held_nanos: sum(balances.map((balance) => balance.heldNanos)),
    charged_nanos: totals.chargedNanos,
    granted_nanos: sum(balances.map((balance) => balance.grantedNanos)),
    events: BigInt(changes.events),
    runs: BigInt(totals.runs),
    open_runs: BigInt(totals.runs - totals.settled),
    request_charged_nanos: totals.chargedNanos,
    completion_tokens: totals.completionTokens,
    usage_requests: BigInt(totals.settled),
    usage_charged_nanos: sum(usage.map((row) => row.chargedNanos)),
    usage_completion_tokens: totals.completionTokens,
    consumer_charged_nanos: sum([...changes.consumerBilling.values()].map((row) => row.chargedNanos)),
    journal_lines: BigInt(totals.journalLines),
    journal_nanos: totals.journalNanos,
    trial_balance_nanos: 0n,
    trial_balance_absolute_nanos: sum(trial.map((row) => (row.balanceNanos < 0n ? -row.balanceNanos : row.balanceNanos))),
  };
}

function sum(amounts: readonly bigint[]): bigint {
  return amounts.reduce((total, amount) => total + amount, 0n);
}
