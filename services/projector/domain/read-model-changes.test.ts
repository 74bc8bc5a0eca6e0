/** The fold behind every view: pages, redelivery and order change nothing; what does not fit stops it. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { accountStream, type JsonObject, type RecordedEvent, toNewEvent } from '../../../events/contract/index.js';
import { makeLog } from '../testing/histories.js';
import { BrokenBooksError } from './broken-books-error.js';
import { applyEvent, noChanges, type PastContext, RevisionGapError } from './read-model-changes.js';

const LOG = makeLog({ accounts: 4, runsPerAccount: 9, openRuns: 2, overlap: 2, stepMs: 400_000 });

function fold(events: readonly RecordedEvent[]) {
  const past: PastContext = { accounts: new Map(), openRuns: new Map() };
  const changes = noChanges();
  for (const event of events) applyEvent(changes, past, event);
  return { changes, past };
}

const sum = (amounts: Iterable<bigint>) => [...amounts].reduce((total, amount) => total + amount, 0n);

describe('the views of a log', () => {
  const { changes } = fold(LOG);

  test('usage, requests, consumers, accounts and journal tell the same charge', () => {
    const settled = LOG.filter((event) => event.type === 'ReservationSettled');
    const charged = sum(settled.map((event) => BigInt(event.data['chargedNanos'] as string)));
    expect(charged).toBeGreaterThan(0n);
    expect(sum([...changes.requests.values()].map((request) => request.usage?.chargedNanos ?? 0n))).toBe(charged);
    expect(sum([...changes.usageQuarters.values()].map((row) => row.chargedNanos))).toBe(charged);
    expect(sum([...changes.accountBalances.values()].map((row) => row.chargedNanos))).toBe(charged);
    expect(sum(changes.journal.filter((row) => row.creditAccount === 'revenue').map((row) => row.amountNanos))).toBe(charged);
    const consumers = new Set(
      [...changes.accountBalances.values()].flatMap(({ account }) => ('consumerId' in account.holder ? account.accountId : [])),
    );
    const chargedToConsumers = sum(
      settled
        .filter((event) => consumers.has(event.data['accountId'] as string))
        .map((event) => BigInt(event.data['chargedNanos'] as string)),
    );
    expect(sum([...changes.consumerBilling.values()].map((row) => row.chargedNanos))).toBe(chargedToConsumers);
  });

  test('the trial balance is zero and agrees with the balances', () => {
    expect(sum([...changes.trialBalance.values()].map((row) => row.balanceNanos))).toBe(0n);
    for (const account of ['available', 'held'] as const) {
      const balances = sum([...changes.accountBalances.values()].map((row) => row[`${account}Nanos`]));
      expect(changes.trialBalance.get(`USD live ${account}`)?.balanceNanos).toBe(balances);
    }
  });

  test('each run has one row with its four facts, counted once in the quarter it settled in', () => {
    const runs = [...changes.requests.values()];
    expect(runs).toHaveLength(36);
    expect(runs.filter((run) => run.settled === null)).toHaveLength(8);
    for (const run of runs.filter((one) => one.settled !== null)) {
      expect((run.usage?.chargedNanos ?? 0n) + (run.refund?.refundedNanos ?? 0n)).toBe(run.reserved?.heldNanos);
    }
    const usage = [...changes.usageQuarters.values()];
    expect(usage.reduce((total, row) => total + row.requests, 0)).toBe(28);
    for (const row of usage) expect(row.requests).toBe(row.completed + row.failed + row.cancelled + row.expired);
  });
});

test('redelivered and duplicated events change nothing', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(LOG.length - 1), { maxLength: 20 }), (repeats) => {
      // A repeat comes any time after its original.
      const noisy = LOG.flatMap((event, index) => [
        event,
        ...repeats.filter((repeat) => repeat <= index && (index + repeat) % 3 === 0).map((repeat) => LOG[repeat] as RecordedEvent),
      ]);
      expect(fold(noisy).changes).toEqual(fold(LOG).changes);
    }),
  );
});

test('the order between accounts does not matter, only the order within each', () => {
  const byStream = [...LOG].sort((left, right) => left.stream.localeCompare(right.stream) || left.revision - right.revision);
  const comparable = (events: readonly RecordedEvent[]) => {
    const { changes } = fold(events);
    const byKey = (map: Map<string, object>) => new Map([...map].sort(([left], [right]) => left.localeCompare(right)));
    return [byKey(changes.accountBalances), byKey(changes.requests), byKey(changes.trialBalance)];
  };
  expect(comparable(byStream)).toEqual(comparable(LOG));
});

describe('books that contradict themselves stop the fold', () => {
  const indexOf = (type: string) => LOG.findIndex((event) => event.type === type);
  const changed = (type: string, change: (data: JsonObject) => JsonObject) =>
    LOG.map((event, index) => (index === indexOf(type) ? { ...event, data: change(event.data) } : event));

  test.each<readonly [string, string, (data: JsonObject) => JsonObject]>([
    ['a hold that posts another amount', 'CreditReserved', (data) => ({ ...data, heldNanos: '1' })],
    ['a charge without postings', 'UsageRecorded', (data) => ({ ...data, postings: [] })],
    [
      'a refund that goes elsewhere',
      'CreditRefunded',
      (data) => ({ ...data, postings: [{ from: 'held', to: 'revenue', amountNanos: data['refundedNanos'] as string }] }),
    ],
    [
      'a grant from nowhere',
      'CreditGranted',
      (data) => ({ ...data, postings: [{ from: 'available', to: 'available', amountNanos: data['amountNanos'] as string }] }),
    ],
    [
      'a posting of a negative amount',
      'CreditGranted',
      (data) => ({ ...data, postings: [{ from: 'available', to: 'promotions', amountNanos: `-${data['amountNanos']}` }] }),
    ],
    ['a settlement that adds up to more than the hold', 'ReservationSettled', (data) => ({ ...data, chargedNanos: '99000000000' })],
    ['an event of another account', 'ReservationSettled', (data) => ({ ...data, accountId: 'acc_other' })],
    ['the end of a run that nobody reserved', 'UsageRecorded', (data) => ({ ...data, runId: 'run_unknown' })],
  ])('%s', (_name, type, change) => {
    expect(() => fold(changed(type, change))).toThrow(BrokenBooksError);
  });
});

test('a clawback may leave less than nothing, and the books still close', () => {
  const accountId = 'acc_clawback';
  const command = { commandId: 'clawback', nowMs: 1_790_000_000_000 };
  const opened = {
    type: 'AccountOpened',
    accountId,
    holder: { kind: 'project', projectId: 'prj_x' },
    unit: 'USD',
    environment: 'live',
  } as const;
  const granted = {
    type: 'CreditGranted',
    accountId,
    grantId: 'grt_x',
    kind: 'adjustment',
    amountNanos: -5n,
    reason: 'dispute',
    postings: [{ from: 'available', to: 'adjustments', amountNanos: 5n }],
  } as const;
  const log = [toNewEvent(opened, command), toNewEvent(granted, command)].map((event, revision) => ({
    ...event,
    stream: accountStream(accountId),
    revision,
    position: String(revision),
  }));
  const { changes } = fold(log);
  expect(changes.accountBalances.get(accountId)).toMatchObject({ availableNanos: -5n, grantedNanos: -5n });
  expect(sum([...changes.trialBalance.values()].map((row) => row.balanceNanos))).toBe(0n);
});

test('a missing event stops the fold', () => {
  for (const missing of [0, 5, 17]) {
    const log = LOG.filter((event) => event.stream === LOG[0]?.stream);
    expect(() => fold(log.filter((event) => event.revision !== missing))).toThrow(RevisionGapError);
  }
});
