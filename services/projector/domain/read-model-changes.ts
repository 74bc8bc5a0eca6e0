/**
 * Folds events into changes of every view. The one `apply` that both the live projection and a rebuild use: live folds a small page and writes
 * it; a rebuild folds the whole log.
 */
import {
  type AccountEvent,
  accountIdOfStream,
  decodeAccountEvent,
  paymentIdOfStream,
  type RecordedEvent,
} from '../../../events/contract/index.js';
import { type AccountBalanceChanges, applyToAccountBalances } from './account-balances.js';
import { BrokenBooksError } from './broken-books-error.js';
import { applyToConsumerBilling, type ConsumerBillingChanges } from './consumer-billing.js';
import { applyToJournal, type JournalRow } from './journal.js';
import { type PaymentRow, type PaymentRows, paymentRowAfter } from './payments.js';
import type { AccountContext, ProjectedEvent } from './projected-event.js';
import { applyToRequests, type RequestChange, type RequestChanges, requestChangeOf } from './requests.js';
import { applyToTrialBalance, type TrialBalanceChanges } from './trial-balance.js';
import { applyToUsageQuarters, type UsageQuarterChanges } from './usage-quarters.js';

export type ReadModelChanges = {
  readonly accountBalances: AccountBalanceChanges;
  readonly requests: RequestChanges;
  readonly usageQuarters: UsageQuarterChanges;
  readonly consumerBilling: ConsumerBillingChanges;
  journal: JournalRow[];
  readonly trialBalance: TrialBalanceChanges;
  /** Whole rows. */
  readonly payments: PaymentRows;
  /** Events that were new; redelivered ones do not count. */
  events: number;
};

export function noChanges(): ReadModelChanges {
  return {
    accountBalances: new Map(),
    requests: new Map(),
    usageQuarters: new Map(),
    consumerBilling: new Map(),
    journal: [],
    trialBalance: new Map(),
    payments: new Map(),
    events: 0,
  };
}

/** What the fold must know of the past. */
export type PastContext = {
  /** The accounts that a page touches and the views know. The fold adds those that it opens, and moves their revisions on. */
  readonly accounts: Map<string, AccountContext>;
  /** Models of the runs that a page ends and that were reserved on an earlier one, by run. */
  readonly openRuns: Map<string, string>;
  /** Rows of the payments that a page touches, as they stand; none where the fold began with an empty log. */
  readonly payments?: ReadonlyMap<string, PaymentRow>;
};

/** A revision is missing: an event was lost between the store and here. Going on would falsify the views. */
export class RevisionGapError extends Error {
  override readonly name = 'RevisionGapError';
}

/** Applies one event to `changes` and `past`. An event that is in the views already changes nothing. Returns whether it was new. */
export function applyEvent(changes: ReadModelChanges, past: PastContext, recorded: RecordedEvent): boolean {
  const accountId = accountIdOfStream(recorded.stream);
  if (accountId === null) return applyPaymentEvent(changes, past, recorded);
  const known = past.accounts.get(accountId);
  if (known !== undefined && recorded.revision <= known.revision) return false;
  if (recorded.revision !== (known?.revision ?? -1) + 1) {
    throw new RevisionGapError(`${recorded.stream} jumps from revision ${known?.revision ?? -1} to ${recorded.revision}`);
  }
  const event = decodeAccountEvent(recorded);
  if (event.accountId !== accountId) throw new BrokenBooksError(`${recorded.stream} holds an event of ${event.accountId}`);
  const account = known ?? contextOf(accountId, event);
  if (known === undefined) past.accounts.set(accountId, account);
  account.revision = recorded.revision;
  const run = 'runId' in event ? requestChangeOf(changes.requests, event.runId) : null;
  const projected: ProjectedEvent = {
    eventId: recorded.id,
    revision: recorded.revision,
    occurredAtMs: recorded.metadata.occurredAtMs,
    event,
    account,
    run,
    model: modelOf(event, run, past),
  };
  applyToAccountBalances(changes.accountBalances, projected);
  applyToRequests(projected);
  applyToUsageQuarters(changes.usageQuarters, projected);
  applyToConsumerBilling(changes.consumerBilling, projected);
  applyToJournal(changes.journal, projected);
  applyToTrialBalance(changes.trialBalance, projected);
  changes.events += 1;
  return true;
}

function applyPaymentEvent(changes: ReadModelChanges, past: PastContext, recorded: RecordedEvent): boolean {
  const paymentId = paymentIdOfStream(recorded.stream);
  if (paymentId === null) return false;
  const known = changes.payments.get(paymentId) ?? past.payments?.get(paymentId) ?? null;
  const revisionKnown = known?.revision ?? -1;
  if (recorded.revision <= revisionKnown) return false;
  if (recorded.revision !== revisionKnown + 1) {
    throw new RevisionGapError(`${recorded.stream} jumps from revision ${revisionKnown} to ${recorded.revision}`);
  }
  changes.payments.set(paymentId, paymentRowAfter(known, recorded));
  changes.events += 1;
  return true;
}

function contextOf(accountId: string, event: AccountEvent): AccountContext {
  if (event.type !== 'AccountOpened') throw new RevisionGapError(`account ${accountId} begins with ${event.type}`);
  const { holder, unit, environment } = event;
  return { accountId, holder, unit, environment, revision: -1 };
}

function modelOf(event: AccountEvent, run: RequestChange | null, past: PastContext): string | null {
  if (event.type === 'CreditReserved') return event.model;
  if (run === null) return null;
  return run.reserved?.model ?? past.openRuns.get(run.runId) ?? null;
}
