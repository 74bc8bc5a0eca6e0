/** Requests that the real ledger has settled, with the records that the real projection makes of them: what receipts are made from. */
import { pino } from 'pino';
import { accountStream, type RecordedEvent } from '../../../../events/contract/index.js';
import { createMemoryEventStore } from '../../../../events/store/memory/memory-event-store.js';
import { eventLoopScheduler } from '../../../../platform/scheduler.js';
import { AccountLedger } from '../../../ledger/accounts/account-ledger.js';
import type { ReserveCreditCommand, SettleReservationCommand } from '../../../ledger/domain/commands.js';
import { inProcessLedgerClient } from '../../../ledger/in-process-ledger-client.js';
import { memorySnapshotStore } from '../../../ledger/snapshots/snapshot-store.js';
import { ACCOUNT, NOW_MS, reserve, runId, settle } from '../../../ledger/testing/account-spec.js';
import { applyEvent, noChanges } from '../../../projector/domain/read-model-changes.js';
import type { RequestRecord } from '../../read-model/read-model.js';
import { type ReceiptSigner, receiptSigner } from '../receipt-keys.js';
import { Verification } from '../verification.js';

/** Seeds of no secret: thirty-two bytes of one number each. */
export const SIGNER: ReceiptSigner = receiptSigner(Buffer.alloc(32, 1).toString('base64'));
export const OTHER_SIGNER: ReceiptSigner = receiptSigner(Buffer.alloc(32, 2).toString('base64'));

export const SERVICE = { name: 'Farebox', url: 'https://farebox.example' };

const logger = pino({ level: 'silent' });

export type SettledRequest = {
  readonly reserve?: Partial<ReserveCreditCommand>;
  readonly settle?: Partial<SettleReservationCommand>;
  /** Whether another run is reserved between its hold and its end. */
  readonly between?: boolean;
};

/** A ledger with one settled request. */
export async function settledRequest(request: SettledRequest = {}) {
  const store = createMemoryEventStore();
  const ledger = new AccountLedger({
    store,
    snapshots: memorySnapshotStore(),
    clock: { nowMs: () => NOW_MS },
    scheduler: eventLoopScheduler,
    logger,
  });
  await ledger.submit(reserve({ requestHash: 'a'.repeat(64), ...request.reserve }));
  if (request.between === true) await ledger.submit(reserve({ runId: runId(2) }));
  await ledger.submit(settle({ responseHash: 'b'.repeat(64), systemFingerprint: 'fp_test', ...request.settle }));
  const events = await store.readStream(accountStream(ACCOUNT));
  const client = inProcessLedgerClient(ledger);
  const verification = new Verification({
    ledger: client,
    signing: { signer: SIGNER, retiredKeys: [], quotes: null },
    service: SERVICE,
    logger,
  });
  return { store, client, verification, events, record: recordOf(events, runId(1)) };
}

/** What the views say of a run, folded from the log. */
export function recordOf(events: readonly RecordedEvent[], run: string): RequestRecord {
  const changes = noChanges();
  const past = { accounts: new Map(), openRuns: new Map() };
  for (const event of events) applyEvent(changes, past as unknown as Parameters<typeof applyEvent>[1], event);
  const change = changes.requests.get(run);
  if (change?.reserved == null) throw new Error(`no request ${run}`);
  const { reserved, usage, refund, settled } = change;
  return {
    ...reserved,
    runId: run,
    status: settled?.outcome ?? 'reserved',
    finishReason: settled?.finishReason ?? null,
    errorCode: settled?.errorCode ?? null,
    attempt: settled?.attempt ?? null,
    usage: usage?.usage ?? null,
    usageSource: usage?.usageSource ?? 'engine',
    chargedNanos: usage?.chargedNanos ?? null,
    refundedNanos: refund?.refundedNanos ?? null,
    terms: { kind: 'free', reason: 'the receipt takes its terms from the log' },
    audioHeld: reserved.audio,
    deadlineAtMs: reserved.deadlineMs,
    settledAtMs: settled?.settledAtMs ?? null,
    eventIds: {
      reserved: reserved.eventId,
      usage: usage?.eventId ?? null,
      refund: refund?.eventId ?? null,
      settled: settled?.eventId ?? null,
    },
    revisions: { reserved: reserved.revision, settled: settled?.revision ?? null },
  };
}
