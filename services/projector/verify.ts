/**
 * Checks the books against the log: folds every event up to the views' checkpoint and compares. What finance staff run before they close a
 * month, and what tests run after every storm. Before that it follows every account's hash chain, so that a changed log is not taken for the truth.
 */
import type { Pool } from 'pg';
import type { EventStore } from '../../events/store/event-store.js';
import { brokenLinkInWords, verifyChains } from './verification/chains.js';
import { foldLogSums } from './verification/log-sums.js';
import { creditsBeyondPayments } from './verification/payment-credits.js';
import { CHECKED_VIEWS, readViewSums, type Sums, type ViewSums } from './verification/view-sums.js';

/** Differences told one by one; a view that has drifted further is rebuilt, not read about. */
export const DISCREPANCIES_MAX = 100;

/** One disagreement: what the view says, what the log says; `words` where that needs saying otherwise. */
export type Discrepancy = { readonly check: string; readonly view: string; readonly log: string; readonly words?: string };

export type Verification = {
  /** Events folded. */
  readonly events: number;
  /** Events that carry a hash of their account's chain, over the whole log. */
  readonly linkedEvents: number;
  /** The checkpoint up to which views and log were compared. */
  readonly position: string;
  readonly discrepancies: readonly Discrepancy[];
};

/**
 * Compares while the projection goes on. With several projectors the checkpoint may be ahead of a slower one's events; they are then told as
 * missing, and a verification while they are idle is the one that counts.
 */
export async function verifyReadModel(pool: Pool, store: EventStore): Promise<Verification> {
  const chains = await verifyChains(store, DISCREPANCIES_MAX);
  const broken = chains.broken.map(
    (link): Discrepancy => ({
      check: `chain of ${link.accountId}`,
      view: link.stored ?? 'no hash',
      log: link.computed,
      words: brokenLinkInWords(link),
    }),
  );
  const views = await readViewSums(pool);
  const log = await foldLogSums(store, views.position).catch((error: Error) => {
    // Such a log may not fold at all; then what is wrong with it has been found already.
    if (broken.length === 0) throw error;
    return error;
  });
  if (log instanceof Error) {
    const unfoldable = { check: 'folding the log', view: 'unknown', log: log.message, words: `the log does not fold: ${log.message}` };
    return { events: 0, linkedEvents: chains.linked, position: views.position, discrepancies: [...broken, unfoldable] };
  }
  const discrepancies: Discrepancy[] = [...broken];
  const compare = (check: string, view: bigint | number, logged: bigint | number) => {
    if (view !== logged) discrepancies.push({ check, view: view.toString(), log: logged.toString() });
  };
  compare('events', views.events, log.events);
  for (const view of CHECKED_VIEWS) {
    for (const key of new Set([...log.sums[view].keys(), ...views.sums[view].keys()])) {
      compareSums(compare, `${view} ${key}`, views.sums[view].get(key), log.sums[view].get(key));
    }
  }
  compareTotals(compare, views.sums);
  discrepancies.push(...creditsBeyondPayments(log.sums));
  const told = discrepancies.slice(0, DISCREPANCIES_MAX);
  const untold = discrepancies.length - told.length + chains.brokenCount - broken.length;
  if (untold > 0) told.push({ check: 'further differences', view: untold.toString(), log: '0' });
  return { events: log.events, linkedEvents: chains.linked, position: views.position, discrepancies: told };
}

type Compare = (check: string, view: bigint, log: bigint) => void;

function compareSums(compare: Compare, check: string, view: Sums | undefined, log: Sums | undefined): void {
  if (view === undefined || log === undefined) {
    compare(`${check} rows`, view === undefined ? 0n : 1n, log === undefined ? 0n : 1n);
    return;
  }
  for (const name of new Set([...Object.keys(log), ...Object.keys(view)])) compare(`${check} ${name}`, view[name] ?? 0n, log[name] ?? 0n);
}

/** What must hold among the views themselves: the trial balance is zero, and every way to count the usage gives the same. */
function compareTotals(compare: Compare, sums: ViewSums): void {
  const books = new Map<string, bigint>();
  for (const [key, { balance_nanos = 0n }] of sums.trial_balance) {
    const book = key.slice(0, key.lastIndexOf(' '));
    books.set(book, (books.get(book) ?? 0n) + balance_nanos);
  }
  for (const [book, balanceNanos] of books) compare(`trial balance of ${book}`, balanceNanos, 0n);
  const charged = total(sums.requests, 'charged_nanos');
  compare('usage of all requests', charged, total(sums.usage_quarters, 'charged_nanos'));
  compare('charges of all accounts', charged, total(sums.account_balances, 'charged_nanos'));
  compare('revenue in the journal', charged, total(sums.journal, 'revenue_nanos'));
  const byConsumers = [...sums.usage_quarters].filter(([key]) => key.split(' ')[1] !== '');
  compare('charges of all consumers', total(sums.consumer_billing, 'charged_nanos'), total(new Map(byConsumers), 'charged_nanos'));
}

function total(rows: ReadonlyMap<string, Sums>, name: string): bigint {
  let sum = 0n;
  for (const sums of rows.values()) sum += sums[name] ?? 0n;
  return sum;
}
