/** Payments over a real event store: each amount reaches the account once, whoever says it, how often, and wherever it crashes. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { accountStream, decodeAccountEvent, paymentStream } from '../../../events/contract/index.js';
import type { EventStore } from '../../../events/store/event-store.js';
import { createPostgresEventStore } from '../../../events/store/postgres/postgres-event-store.js';
import { packageFile } from '../../../platform/package-root.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { createTestDatabase, type TestDatabase } from '../../../platform/testing/postgres-for-tests.js';
import { AccountLedger } from '../accounts/account-ledger.js';
import { inProcessLedgerClient } from '../in-process-ledger-client.js';
import { LedgerUnavailableError, type PaymentCommand } from '../ledger-client.js';
import { memorySnapshotStore } from '../snapshots/snapshot-store.js';
import { reserve, runId } from '../testing/account-spec.js';
import { bookOutstandingPayments } from './book-payments.js';
import { paymentLedger } from './payment-ledger.js';
import { FINDING, NOW_MS, OFFER, OPEN } from './testing/payment-examples.js';

const logger = pino({ level: 'silent' });
const clock = { nowMs: () => NOW_MS };
const CREDITS = 1_000_000_000n;

let database: TestDatabase;
let store: EventStore;
let made = 0;
beforeAll(async () => {
  database = await createTestDatabase({ migrations: [{ owner: 'event-store', folder: packageFile('events/store/postgres/migrations/') }] });
  store = createPostgresEventStore({ pool: database.pool, logger });
});
afterAll(async () => {
  await store?.close();
  await database?.drop();
});

/** A process of its own: no memory of what others did. */
function newProcess(over: EventStore = store, accountsOver: EventStore = over) {
  const accounts = new AccountLedger({
    store: accountsOver,
    snapshots: memorySnapshotStore(),
    clock,
    scheduler: eventLoopScheduler,
    logger,
  });
  const ledger = inProcessLedgerClient(accounts);
  return { ledger, payments: paymentLedger({ store: over, ledger, clock, logger }) };
}

/** Ids of a purchase that no other test has. */
function purchase() {
  made += 1;
  const tail = String(made).padStart(26, '0');
  const ids = { paymentId: `pay_${tail}`, accountId: `acc_${tail}` };
  const reference = `huru_topup_${tail}`;
  const of = <Command extends PaymentCommand>(command: Command): Command => ({ ...command, paymentId: ids.paymentId });
  const open = { ...of(OPEN), accountId: ids.accountId, reference };
  const record = (source: 'webhook' | 'return' | 'reconciliation'): PaymentCommand => ({
    type: 'RecordPayment',
    paymentId: ids.paymentId,
    source,
    finding: { ...FINDING, accountId: ids.accountId, reference },
  });
  const back = (kind: 'refund' | 'dispute', status: 'active' | 'lifted', amountMinor: bigint): PaymentCommand => ({
    type: 'RecordReversal',
    paymentId: ids.paymentId,
    provider: 'paystack',
    reversalId: kind,
    kind,
    status,
    amountMinor,
    currency: 'NGN',
  });
  const grants = async () =>
    (await store.readStream(accountStream(ids.accountId))).map(decodeAccountEvent).filter((event) => event.type === 'CreditGranted');
  return { ...ids, open, offer: of(OFFER), record, back, grants };
}

/** Dies, as a process does, right after the append of an event of this type. */
function dyingAfter(type: string): EventStore {
  let isDead = false;
  return new Proxy(store, {
    get: (target, name) => {
      const value = Reflect.get(target, name, target) as unknown;
      if (typeof value !== 'function') return value;
      return async (...parameters: unknown[]) => {
        if (isDead) throw new Error('dead');
        const result: unknown = await (value as (...args: unknown[]) => unknown).apply(target, parameters);
        const appends = name === 'append' ? (parameters[0] as { events: { type: string }[] }[]) : [];
        if (appends.some(({ events }) => events.some((event) => event.type === type))) {
          isDead = true;
          throw new Error('died');
        }
        return result;
      };
    },
  });
}

describe('payments over Postgres', () => {
  test('eight processes that learn of one payment at once credit it once', async () => {
    const { open, offer, record, grants, paymentId } = purchase();
    const processes = Array.from({ length: 8 }, () => newProcess());
    const [first] = processes;
    await first?.payments.submitPayment(open);
    await first?.payments.submitPayment(offer);
    const sources = ['webhook', 'return', 'reconciliation'] as const;
    await Promise.all(processes.flatMap(({ payments }) => sources.map((source) => payments.submitPayment(record(source)))));
    expect(await grants()).toMatchObject([{ kind: 'top_up', amountNanos: 100n * CREDITS }]);
    expect((await grants())[0]?.postings).toEqual([{ from: 'payments:paystack', to: 'available', amountNanos: 100n * CREDITS }]);
    expect(await first?.payments.payment(paymentId)).toMatchObject({ status: 'credited', unbooked: 0, creditedNanos: 100n * CREDITS });
    const types = (await store.readStream(paymentStream(paymentId))).map(({ type }) => type);
    expect(types).toEqual(['CheckoutOpened', 'CheckoutOffered', 'PaymentVerified', 'PaymentBooked']);
  });

  test.each(['PaymentVerified', 'CreditGranted', 'PaymentBooked'])(
    'a process that dies right after %s leaves a payment that another finishes, once',
    async (type) => {
      const { open, offer, record, grants, paymentId, accountId } = purchase();
      const healthy = newProcess();
      await healthy.payments.submitPayment(open);
      await healthy.payments.submitPayment(offer);
      const dying = dyingAfter(type);
      await newProcess(dying)
        .payments.submitPayment(record('webhook'))
        .catch((error: unknown) => expect(error).toBeInstanceOf(LedgerUnavailableError));
      const outstanding = { unbookedBefore: async () => [paymentId] };
      const recovery = { payments: newProcess().payments, outstanding, clock, scheduler: eventLoopScheduler, logger };
      await bookOutstandingPayments(recovery);
      expect(await bookOutstandingPayments(recovery)).toBe(0);
      expect(await grants()).toHaveLength(1);
      expect(await newProcess().payments.payment(paymentId)).toMatchObject({ status: 'credited', unbooked: 0 });
      expect(await newProcess().ledger.balance(accountId)).toMatchObject({ availableNanos: 100n * CREDITS });
    },
  );

  test('a store that answers only half of the time credits once', async () => {
    const { open, offer, record, grants } = purchase();
    let calls = 0;
    const flaky = new Proxy(store, {
      get: (target, name) => {
        const value = Reflect.get(target, name, target) as unknown;
        if (name !== 'append') return typeof value === 'function' ? value.bind(target) : value;
        return async (...parameters: Parameters<EventStore['append']>) => {
          const result = await target.append(...parameters);
          calls += 1;
          if (calls % 2 === 1) throw new Error('the answer was lost');
          return result;
        };
      },
    });
    const { payments } = newProcess(flaky, store);
    for (const command of [open, offer, record('webhook'), record('return')]) await payments.submitPayment(command);
    expect(await grants()).toHaveLength(1);
  });

  test('a dispute after the credit was spent leaves a debt, admits nothing, and winning it opens the account again', async () => {
    const { open, offer, record, back, accountId } = purchase();
    const { payments, ledger } = newProcess();
    for (const command of [open, offer, record('webhook')]) await payments.submitPayment(command);
    const { type: _type, ...request } = reserve({ runId: runId(1) });
    const run = { ...request, accountId, opening: { ...request.opening, unit: 'credit', starterNanos: 0n } };
    expect((await ledger.reserve(run)).status).toBe('reserved');
    await payments.submitPayment(back('dispute', 'active', 1_000n));
    const balance = await ledger.balance(accountId);
    expect(balance?.availableNanos).toBe(-(balance?.heldNanos ?? 0n));
    expect(balance?.availableNanos).toBeLessThan(0n);
    const free = { kind: 'free', reason: 'test_environment' } as const;
    for (const terms of [run.terms, free]) {
      expect(await ledger.reserve({ ...run, terms, runId: runId(2) })).toMatchObject({ status: 'refused', reason: 'insufficient_credit' });
    }
    const won = await payments.submitPayment(back('dispute', 'lifted', 1_000n));
    expect(won).toMatchObject({ status: 'done', payment: { status: 'credited', clawedBackNanos: 0n } });
    expect((await ledger.reserve({ ...run, runId: runId(3) })).status).toBe('reserved');
  });

  test('a refund’s part is taken back from where it came', async () => {
    const { open, offer, record, back, grants } = purchase();
    const { payments } = newProcess();
    for (const command of [open, offer, record('webhook'), back('refund', 'active', 250n)]) await payments.submitPayment(command);
    expect((await grants())[1]).toMatchObject({
      kind: 'clawback',
      amountNanos: -25n * CREDITS,
      postings: [{ from: 'available', to: 'payments:paystack', amountNanos: 25n * CREDITS }],
    });
  });
});
