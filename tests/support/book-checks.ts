/** What must hold in the books after any storm. */
import { expect } from '@jest/globals';
import { parseAmount } from '../../events/contract/index.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import type { Books } from './books.js';
import type { Attempt } from './load.js';

/** Every hold has ended, once, with charge and refund making it up; the views agree with the log; the trial balance is zero. */
export async function expectBooksInOrder(books: Books): Promise<void> {
  await waitFor(async () => (await books.openHolds()).length === 0, { describe: 'every hold to end' });
  expect(await books.brokenRuns()).toEqual([]);
  await viewsCaughtUp(books);
  for (const run of (await books.runs()).values()) expect((run.chargedNanos ?? 0n) + (run.refundedNanos ?? 0n)).toBe(run.heldNanos);
  expect((await books.verify()).discrepancies).toEqual([]);
}

/** What a client was told was charged is in the books, run by run, exactly so. */
export async function expectAcknowledgedInBooks(books: Books, attempts: readonly Attempt[]): Promise<void> {
  await viewsCaughtUp(books);
  const runs = await books.runs();
  const answered = attempts.filter(({ ending }) => ending === 'answered');
  const missing = answered.filter(({ runId, charged }) => {
    const run = runs.get(runId ?? '');
    return run?.status !== 'completed' || run.chargedNanos !== parseAmount(charged ?? '');
  });
  expect(missing).toEqual([]);
}

/** The projection reads behind the log; this waits until it has all of it. */
async function viewsCaughtUp(books: Books): Promise<void> {
  const { rows } = await books.pool.query<{ events: string }>('select count(*)::text as events from event_store.events');
  const expected = Number(rows[0]?.events ?? 0);
  const seen = async () => {
    const { rows: views } = await books.pool.query<{ events: string }>(
      `select coalesce(sum(revision + 1), 0)::text as events
       from (select revision from read_model.account_balances union all select revision from read_model.payments) as streams`,
    );
    return Number(views[0]?.events ?? 0) >= expected;
  };
  await waitFor(seen, { describe: `the views to show ${expected} events` });
}
