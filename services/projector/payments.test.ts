/** The view of payments: what the streams say, live and rebuilt alike; and invariant 13, which sees credit that nobody paid for. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  accountStream,
  type PaymentEvent,
  paymentGrantId,
  paymentStream,
  toNewEvent,
  toNewPaymentEvent,
} from '../../events/contract/index.js';
import { createMemoryEventStore } from '../../events/store/memory/memory-event-store.js';
import type { TestDatabase } from '../../platform/testing/postgres-for-tests.js';
import { applyLivePage } from './postgres/apply-page.js';
import { rebuildReadModel } from './rebuild.js';
import { openProjectorDatabase, readViews, silent } from './testing/projector-database.js';
import { verifyReadModel } from './verify.js';

const NOW_MS = 1_790_000_000_000;
const PAYMENT = `pay_${'7'.repeat(26)}`;
const ACCOUNT = 'acc_payer';
const CREDIT = 100_000_000_000n;
const GRANT = paymentGrantId(PAYMENT, NOW_MS, 0);

let database: TestDatabase;
beforeAll(async () => {
  database = await openProjectorDatabase();
});
afterAll(() => database.drop());

const reversal = { paymentId: PAYMENT, reversalId: 'r1', amountMinor: 400n };
const PAYMENT_EVENTS: readonly PaymentEvent[] = [
  {
    type: 'CheckoutOpened',
    paymentId: PAYMENT,
    reference: `x_topup_${'7'.repeat(26)}`,
    provider: 'stripe',
    mode: 'test',
    environment: 'test',
    accountId: ACCOUNT,
    holder: { kind: 'consumer', projectId: 'prj_p', consumerId: 'con_c' },
    unit: 'credit',
    starterNanos: 0n,
    packId: 'credits_10',
    amountMinor: 1_000n,
    currency: 'NGN',
    creditNanos: CREDIT,
    attempt: 'a',
    successUrl: null,
    cancelUrl: null,
  },
  { type: 'CheckoutOffered', paymentId: PAYMENT, providerReference: 'cs_1', authorizationUrl: 'https://x', expiresAtMs: NOW_MS },
  {
    type: 'PaymentVerified',
    paymentId: PAYMENT,
    providerReference: 'cs_1',
    providerPaymentId: 'pi_1',
    amountMinor: 1_000n,
    currency: 'NGN',
    source: 'webhook',
    grantId: GRANT,
    creditNanos: CREDIT,
  },
  { type: 'PaymentBooked', paymentId: PAYMENT, grantId: GRANT, eventId: 'e', creditNanos: CREDIT },
  { type: 'PaymentRefunded', ...reversal, creditNanos: -40_000_000_000n, grantId: 'grt_1' },
  { type: 'PaymentBooked', paymentId: PAYMENT, grantId: 'grt_1', eventId: 'e', creditNanos: -40_000_000_000n },
];

const grantEvents = (amounts: readonly bigint[]) => [
  toNewEvent(
    {
      type: 'AccountOpened',
      accountId: ACCOUNT,
      holder: { kind: 'consumer', projectId: 'prj_p', consumerId: 'con_c' },
      unit: 'credit',
      environment: 'test',
    },
    { commandId: 'open', nowMs: NOW_MS },
  ),
  ...amounts.map((amountNanos, n) =>
    toNewEvent(
      {
        type: 'CreditGranted',
        accountId: ACCOUNT,
        grantId: `grt_${n}`,
        kind: amountNanos > 0n ? 'top_up' : 'clawback',
        amountNanos,
        reason: 'payment',
        postings:
          amountNanos > 0n
            ? [{ from: 'payments:stripe', to: 'available', amountNanos }]
            : [{ from: 'available', to: 'payments:stripe', amountNanos: -amountNanos }],
      },
      { commandId: `grant ${n}`, nowMs: NOW_MS },
    ),
  ),
];

test('rows are the same whether a payment’s events come one by one, twice, or in a rebuild; and the books agree', async () => {
  const { pool } = database;
  const store = createMemoryEventStore();
  const events = PAYMENT_EVENTS.map((event, n) => toNewPaymentEvent(event, { commandId: `p${n}`, nowMs: NOW_MS + n }));
  await store.append([{ stream: paymentStream(PAYMENT), expectedRevision: -1, events }]);
  await store.append([{ stream: accountStream(ACCOUNT), expectedRevision: -1, events: grantEvents([CREDIT, -40_000_000_000n]) }]);
  const log = await store.readAll('', 100);
  for (const event of log) await applyLivePage(pool, [event]);
  await applyLivePage(pool, log);
  const live = await readViews(pool);
  expect(live['payments']).toMatchObject([
    {
      status: 'partially_refunded',
      unbooked: 0,
      credited_nanos: '100000000000',
      clawed_back_nanos: '40000000000',
      reversed_minor: '400',
      consumer_id: 'con_c',
      revision: '5',
    },
  ]);
  expect((await verifyReadModel(pool, store)).discrepancies).toEqual([]);
  await rebuildReadModel({ pool, store, logger: silent, nowMs: Date.now });
  expect((await readViews(pool))['payments']).toEqual(live['payments']);

  // Somebody grants himself what no payment justifies.
  const [, , extra] = grantEvents([1n, 1n]);
  await store.append([
    {
      stream: accountStream(ACCOUNT),
      expectedRevision: 2,
      events: extra === undefined ? [] : [{ ...extra, id: events[0]?.id.replace(/^./, 'f') ?? '' }],
    },
  ]);
  await applyLivePage(pool, await store.readAll('', 100));
  expect((await verifyReadModel(pool, store)).discrepancies).toEqual([
    { check: 'credits from payments:stripe in credit test exceed verified payments', view: '60000000001', log: '60000000000' },
  ]);
  await store.close();
});
