/** The fold behind every view: pages, redelivery and order change nothing; what does not fit stops it. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { RecordedEvent } from '../../../events/contract/index.js';
import { makeLog } from '../testing/histories.js';
import { applyEvent, noChanges, type PastContext, RevisionGapError } from './read-model-changes.js';

const LOG = makeLog({ accounts: 4, runsPerAccount: 9, openRuns: 2, stepMs: 400_000 });

function fold(events: readonly RecordedEvent[]) {
  const past: PastContext = { accounts: new Map(), openRuns: new Map() };
  const changes = noChanges();
  for (const event of events) applyEvent(changes, past, event);
  return { changes, past };
}

const sum = (amounts: Iterable<bigint>) => [...amounts].reduce((total, amount) => total + amount, 0n);

describe('the views of a log', () => {
  const { changes, past } = fold(LOG);

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
    expect(past.openRuns.size).toBe(8);
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

test('a missing event stops the fold', () => {
  for (const missing of [0, 5, 17]) {
    const log = LOG.filter((event) => event.stream === LOG[0]?.stream);
    expect(() => fold(log.filter((event) => event.revision !== missing))).toThrow(RevisionGapError);
  }
});
