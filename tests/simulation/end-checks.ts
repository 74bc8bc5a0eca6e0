/** What must hold once everything has come to rest: log, ledger, bus, views and acknowledgements tell one story. */
import { createHash } from 'node:crypto';
import { decodeAccountEvent, type RecordedEvent } from '../../events/contract/index.js';
import { type AccountState, emptyAccount, evolve } from '../../services/ledger/domain/account-state.js';
import { stateFromSnapshot, stateToSnapshot } from '../../services/ledger/domain/snapshot.js';
import type { Deployment } from './deployment.js';
import { MemoryViews } from './memory-views.js';
import { settled } from './timeline.js';
import { mustHold } from './violation.js';
import type { World } from './world.js';

export async function checkEnd(world: World, deployment: Deployment): Promise<void> {
  const { oracle, asks, views } = world;
  checkReservations(world);
  asks.checkAtEnd();
  const log = await world.store.readAll('', 10_000);
  mustHold(log.length === oracle.log.length, '8 log', () => `the store holds ${log.length} events of ${oracle.log.length}`);
  checkFolds(world, log);
  checkChains(log);
  checkViews(world, views);
  checkRebuild(views, log);
  await checkBalances(world, deployment);
}

function checkReservations({ oracle }: World): void {
  for (const [runId, run] of oracle.runs) {
    mustHold(run.outcome !== null, '3 reservation', () => `run ${runId} never ended`);
    mustHold(
      (run.charged ?? -1n) + (run.refunded ?? -1n) === run.held,
      '3 reservation',
      () => `run ${runId}: ${run.charged} + ${run.refunded} of ${run.held}`,
    );
  }
  for (const [accountId, account] of oracle.accounts) {
    mustHold(oracle.balance(accountId, 'held') === 0n && account.openRuns === 0, '14 counters', () => `${accountId} still holds`);
  }
}

/** The same log gives the same state, in one go and with snapshots in between at every possible place. */
function checkFolds(world: World, log: readonly RecordedEvent[]): void {
  for (const accountId of world.oracle.accounts.keys()) {
    const events = log.filter((event) => event.stream === `account-${accountId}`).map(decodeAccountEvent);
    const whole = JSON.stringify(stateToSnapshot(events.reduce<AccountState>(evolve, emptyAccount())));
    const pageSize = world.random.between(1, 9);
    let paged: AccountState = emptyAccount();
    for (let from = 0; from < events.length; from += pageSize) {
      paged = events.slice(from, from + pageSize).reduce<AccountState>(evolve, paged);
      const restored = stateFromSnapshot(JSON.parse(JSON.stringify(stateToSnapshot(paged))));
      mustHold(restored !== null, '8 same state', () => 'a snapshot is of another version');
      paged = restored ?? paged;
    }
    mustHold(
      JSON.stringify(stateToSnapshot(paged)) === whole,
      '8 same state',
      () => `${accountId} folds differently in pages of ${pageSize}`,
    );
    const state = JSON.parse(whole) as { availableNanos: string; heldNanos: string };
    const books = `${world.oracle.balance(accountId, 'available')} ${world.oracle.balance(accountId, 'held')}`;
    mustHold(
      `${state.availableNanos} ${state.heldNanos}` === books,
      '2 balance',
      () => `${accountId} folds to ${state.availableNanos} ${state.heldNanos}; the books say ${books}`,
    );
  }
}

/** Whoever wrote it, in whatever order and however often it was tried: the hash that an event carries is the one that its history gives. */
function checkChains(log: readonly RecordedEvent[]): void {
  const chains = new Map<string, string>();
  for (const { stream, revision, id, type, version, data, metadata } of log) {
    const facts = JSON.stringify(sorted({ data, id, type, version }));
    const chain = createHash('sha256')
      .update(`${chains.get(stream) ?? '0'.repeat(64)}\n${facts}`)
      .digest('hex');
    mustHold(
      metadata.chain === chain,
      '15 chain',
      () => `event ${revision} of ${stream} carries ${metadata.chain}; its history gives ${chain}`,
    );
    chains.set(stream, chain);
  }
}

/** Plain, and sharing no code with the ledger. Keys that look like numbers do not occur in events. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const keys = Object.keys(value).sort();
  return Object.fromEntries(keys.map((key) => [key, sorted((value as Record<string, unknown>)[key])]));
}

/** Every row of every view against the oracle's own books. */
function checkViews({ oracle }: World, views: MemoryViews): void {
  let usage = 0n;
  let charged = 0n;
  for (const [accountId, account] of oracle.accounts) {
    const row = views.balances.get(accountId);
    const told = `${row?.availableNanos} ${row?.heldNanos} ${row?.chargedNanos} ${row?.grantedNanos} ${row?.revision}`;
    const runs = [...oracle.runs.values()].filter((run) => run.accountId === accountId);
    const chargedHere = runs.reduce((total, run) => total + (run.charged ?? 0n), 0n);
    const granted = [...account.grants.values()].reduce((total, amount) => total + amount, 0n);
    const books = `${oracle.balance(accountId, 'available')} ${oracle.balance(accountId, 'held')} ${chargedHere} ${granted} ${account.revision}`;
    mustHold(account.revision < 0 || told === books, '9 views', () => `balances of ${accountId}: ${told}; the books say ${books}`);
    charged += chargedHere;
    if (account.consumerId === null || account.revision < 0) continue;
    const consumer = views.consumers.get(account.consumerId);
    const bill = `${consumer?.grantedNanos} ${consumer?.chargedNanos} ${consumer?.requests}`;
    mustHold(
      bill === `${granted} ${chargedHere} ${runs.length}`,
      '12 usage',
      () => `bill of ${account.consumerId}: ${bill}; the books say ${granted} ${chargedHere} ${runs.length}`,
    );
  }
  for (const row of views.usageQuarters.values()) usage += row.chargedNanos;
  mustHold(usage === charged, '12 usage', () => `usage of ${usage} where ${charged} was charged`);
  checkRequests(oracle, views);
  const trial = [...views.trialBalance.values()];
  mustHold(trial.reduce((total, row) => total + row.balanceNanos, 0n) === 0n, '1 postings', () => 'the trial balance is not zero');
  for (const row of trial) {
    const books = [...oracle.accounts.keys()].reduce((total, accountId) => total + oracle.balance(accountId, row.ledgerAccount), 0n);
    mustHold(
      row.balanceNanos === books,
      '9 views',
      () => `trial balance of ${row.ledgerAccount}: ${row.balanceNanos}; the books say ${books}`,
    );
  }
}

function checkRequests(oracle: World['oracle'], views: MemoryViews): void {
  mustHold(views.requests.size === oracle.runs.size, '9 views', () => `${views.requests.size} requests of ${oracle.runs.size}`);
  for (const [runId, run] of oracle.runs) {
    const row = views.requests.get(runId);
    const told = `${row?.settled?.outcome} ${row?.reserved?.heldNanos} ${row?.usage?.chargedNanos} ${row?.refund?.refundedNanos}`;
    const books = `${run.outcome} ${run.held} ${run.charged} ${run.refunded}`;
    mustHold(told === books, '9 views', () => `request ${runId}: ${told}; the books say ${books}`);
  }
}

/** A rebuild in one page gives the rows that grew page by page. */
function checkRebuild(views: MemoryViews, log: readonly RecordedEvent[]): void {
  const rebuilt = new MemoryViews();
  rebuilt.applyPage(log);
  const [rebuiltRows, grownRows] = [rowsOf(rebuilt), rowsOf(views)];
  const other = grownRows.find((row, index) => row !== rebuiltRows[index]);
  mustHold(
    other === undefined && grownRows.length === rebuiltRows.length,
    '8 same state',
    () => `a rebuild gives another row than ${other}`,
  );
}

function rowsOf(views: MemoryViews): string[] {
  const tables = [views.balances, views.requests, views.usageQuarters, views.consumers, views.journal, views.trialBalance];
  const text = (_key: string, value: unknown) => (typeof value === 'bigint' ? value.toString() : value);
  const lines = (table: ReadonlyMap<string, unknown>) => [...table].map((row) => JSON.stringify(row, text)).sort();
  return [...tables.flatMap((table) => lines(table as ReadonlyMap<string, unknown>)), `${views.events} events`];
}

/** Each living ledger, asked as anybody would, says what the log said at the revision it names. One that was idle may be behind, never wrong. */
async function checkBalances(world: World, deployment: Deployment): Promise<void> {
  for (const [accountId, account] of world.oracle.accounts) {
    for (const client of deployment.ledgerClients()) {
      const balance = await answerOf(world, client.balance(accountId));
      if (balance === null) continue;
      const told = `${balance.availableNanos} available, ${balance.heldNanos} held`;
      const books = account.standings[balance.revision];
      mustHold(told === books, '2 balance', () => `a ledger says ${told} of ${accountId} at ${balance.revision}; the books say ${books}`);
    }
  }
}

/** Lets time pass until `asked` is answered. */
async function answerOf<Answer>(world: World, asked: Promise<Answer>): Promise<Answer> {
  let isAnswered = false;
  const end = () => {
    isAnswered = true;
  };
  asked.then(end, end);
  do await settled();
  while (!isAnswered && world.timeline.step());
  return asked;
}
