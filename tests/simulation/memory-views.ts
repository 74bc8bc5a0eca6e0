/**
 * The read model in memory: the projector's own folds, applied page by page in transactions with the rules of its Postgres tables. It outlives
 * every component, as a database does.
 */
import { BEFORE_EVERYTHING, type Position, type RecordedEvent } from '../../events/contract/index.js';
import type { OpenHold, OpenHolds } from '../../services/ledger/holds/open-holds.js';
import type { AccountBalanceChange } from '../../services/projector/domain/account-balances.js';
import type { ConsumerBillingChange } from '../../services/projector/domain/consumer-billing.js';
import type { JournalRow } from '../../services/projector/domain/journal.js';
import { applyEvent, noChanges, type PastContext, type ReadModelChanges } from '../../services/projector/domain/read-model-changes.js';
import type { RequestChange } from '../../services/projector/domain/requests.js';
import type { TrialBalanceChange } from '../../services/projector/domain/trial-balance.js';
import type { UsageQuarterChange } from '../../services/projector/domain/usage-quarters.js';

/** How a page becomes rows; mutants replace it. */
export type PageApplier = (views: MemoryViews, events: readonly RecordedEvent[]) => void;

export class MemoryViews {
  readonly balances = new Map<string, AccountBalanceChange & { revision: number }>();
  readonly requests = new Map<string, RequestChange>();
  readonly usageQuarters = new Map<string, UsageQuarterChange>();
  readonly consumers = new Map<string, ConsumerBillingChange>();
  readonly journal = new Map<string, JournalRow>();
  readonly trialBalance = new Map<string, TrialBalanceChange>();
  checkpoint: Position = BEFORE_EVERYTHING;
  events = 0;

  /** One transaction: all rows and the checkpoint, or nothing. */
  applyPage(events: readonly RecordedEvent[]): void {
    const past = this.past();
    const changes = noChanges();
    for (const event of events) applyEvent(changes, past, event);
    this.write(changes);
    this.moveCheckpoint(events);
  }

  /** What the projector reads back before it folds a page. */
  past(): PastContext {
    const accounts: PastContext['accounts'] = new Map();
    for (const [accountId, row] of this.balances) accounts.set(accountId, { ...row.account, revision: row.revision });
    const openRuns: PastContext['openRuns'] = new Map();
    for (const [runId, { reserved }] of this.requests) if (reserved !== null) openRuns.set(runId, reserved.model);
    return { accounts, openRuns };
  }

  write(changes: ReadModelChanges): void {
    for (const [key, change] of changes.accountBalances) {
      const row = this.balances.get(key);
      this.balances.set(key, {
        ...sumOf(row, change),
        account: change.account,
        updatedAtMs: change.updatedAtMs,
        revision: change.account.revision,
      });
    }
    for (const [runId, change] of changes.requests) this.#writeRequest(runId, change);
    for (const [key, change] of changes.usageQuarters) this.usageQuarters.set(key, sumOf(this.usageQuarters.get(key), change));
    for (const [key, change] of changes.consumerBilling) this.consumers.set(key, sumOf(this.consumers.get(key), change));
    for (const [key, change] of changes.trialBalance) this.trialBalance.set(key, sumOf(this.trialBalance.get(key), change));
    for (const row of changes.journal) insert(this.journal, `${row.accountId} ${row.revision} ${row.line}`, row);
    this.events += changes.events;
  }

  moveCheckpoint(events: readonly RecordedEvent[]): void {
    const position = events.at(-1)?.position ?? BEFORE_EVERYTHING;
    if (position > this.checkpoint) this.checkpoint = position;
  }

  /** As `postgresOpenHolds` answers from the same rows. */
  openHolds(): OpenHolds {
    const find = (matches: (reserved: NonNullable<RequestChange['reserved']>) => boolean, limit: number): OpenHold[] => {
      const found: OpenHold[] = [];
      for (const [runId, { reserved, settled }] of this.requests) {
        if (settled !== null || reserved === null || !matches(reserved)) continue;
        found.push({ accountId: reserved.accountId, runId });
        if (found.length === limit) break;
      }
      return found;
    };
    return {
      dueBefore: async (beforeMs, limit) => find((reserved) => reserved.deadlineMs < beforeMs, limit),
      reservedBefore: async (beforeMs, limit) => find((reserved) => reserved.reservedAtMs < beforeMs, limit),
      oldestReservedMs: async () => null,
    };
  }

  #writeRequest(runId: string, change: RequestChange): void {
    if (change.reserved !== null) {
      insert(this.requests, runId, change);
      return;
    }
    const row = this.requests.get(runId);
    if (row === undefined) return;
    this.requests.set(runId, {
      ...row,
      usage: change.usage ?? row.usage,
      refund: change.refund ?? row.refund,
      settled: change.settled ?? row.settled,
    });
  }
}

function insert<Row>(table: Map<string, Row>, key: string, row: Row): void {
  if (table.has(key)) throw new Error(`duplicate key ${key}`);
  table.set(key, row);
}

/** `on conflict do update`: numbers add up, the rest is taken from the change. */
function sumOf<Row extends object>(row: Row | undefined, change: Row): Row {
  if (row === undefined) return { ...change };
  const sum = { ...row } as Record<string, unknown>;
  for (const [field, value] of Object.entries(change)) {
    if (field.endsWith('Ms') && value === null) continue;
    const before = sum[field];
    if (typeof value === 'bigint') sum[field] = (before as bigint) + value;
    else if (typeof value === 'number' && !field.endsWith('Ms')) sum[field] = (before as number) + value;
    else sum[field] = value;
  }
  return sum as Row;
}
