/** Payments over the ledger's internal HTTP: the same port, the same answers as in one process. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { createMemoryEventStore } from '../../../events/store/memory/memory-event-store.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { AccountLedger } from '../accounts/account-ledger.js';
import { httpLedgerClient } from '../http/http-ledger-client.js';
import { serveCalls } from '../http/serve-calls.js';
import { inProcessLedgerClient } from '../in-process-ledger-client.js';
import type { PaymentsClient } from '../ledger-client.js';
import { memorySnapshotStore } from '../snapshots/snapshot-store.js';
import { paymentLedger } from './payment-ledger.js';
import { FINDING, NOW_MS, OFFER, OPEN, PAYMENT_ID } from './testing/payment-examples.js';

const SECRET = 'secret-of-the-payment-http-tests';
const logger = pino({ level: 'silent' });
const clock = { nowMs: () => NOW_MS };
const store = createMemoryEventStore();
const accounts = new AccountLedger({ store, snapshots: memorySnapshotStore(), clock, scheduler: eventLoopScheduler, logger });
const ledger = inProcessLedgerClient(accounts);
const local = paymentLedger({ store, ledger, clock, logger });
const serve = serveCalls({ ledger, payments: local, settle: (command) => accounts.submit(command), secret: SECRET, logger });
const server = createServer((request, response) => void serve(request, response));
let remote: PaymentsClient;
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  remote = httpLedgerClient({ instances: [url], secret: SECRET, logger });
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await store.close();
});

test('every command travels, amounts exactly, and both sides see one payment', async () => {
  expect(await remote.payment(PAYMENT_ID)).toBeNull();
  const finding = { ...FINDING, amountMinor: OPEN.amountMinor };
  const reversal = { type: 'RecordReversal', paymentId: PAYMENT_ID, provider: 'paystack', reversalId: 'r', kind: 'refund' } as const;
  const commands = [
    OPEN,
    OFFER,
    { type: 'RecordPayment', paymentId: PAYMENT_ID, source: 'webhook', finding },
    { ...reversal, status: 'active', amountMinor: 1n, currency: 'NGN' },
    { type: 'RecordFailure', paymentId: PAYMENT_ID, outcome: 'failed', reason: 'late' },
    { type: 'BookPayment', paymentId: PAYMENT_ID },
  ] as const;
  for (const command of commands) expect(await remote.submitPayment(command)).toMatchObject({ status: 'done' });
  const payment = await remote.payment(PAYMENT_ID);
  expect(payment).toMatchObject({ status: 'partially_refunded', creditedNanos: 100_000_000_000n, clawedBackNanos: 100_000_000n });
  expect(payment).toEqual(await local.payment(PAYMENT_ID));
  expect(await remote.submitPayment({ ...OPEN, packId: 'other' })).toEqual({
    status: 'refused',
    reason: 'payment_exists_with_different_terms',
  });
});
