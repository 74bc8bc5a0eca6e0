/** What a receipt says, read from the events of the run's hold and settlement. */
import {
  type AccountEvent,
  decodeAccountEvent,
  formatAmount,
  type RecordedEvent,
  requestIdOfRun,
  termsToWire,
  type UsageRecorded,
} from '../../../events/contract/index.js';
import type { LedgerClient } from '../../ledger/ledger-client.js';
import { isoTime } from '../presentation/amounts.js';
import type { RequestRecord } from '../read-model/read-model.js';
import type { ReceiptEvent, ReceiptFacts } from './receipt.js';

/** A run's charge, refund and settlement, which one append wrote, with the event before them. */
const SETTLEMENT_EVENTS = 4;
/** The hold, with the event before it: an account is opened first. */
const HOLD_EVENTS = 2;

export type Service = ReceiptFacts['service'];

type ReceiptEventType = 'CreditReserved' | 'UsageRecorded' | 'CreditRefunded' | 'ReservationSettled';

/** `null` where the books cannot say: rows of views from before receipts, which `farebox rebuild` fills. */
export async function receiptFacts(
  ledger: Pick<LedgerClient, 'accountEvents'>,
  record: RequestRecord,
  service: Service,
): Promise<ReceiptFacts | null> {
  const { accountId, runId, revisions } = record;
  if (revisions.reserved === null || revisions.settled === null) return null;
  const [beforeHold, hold] = await ledger.accountEvents({ accountId, fromRevision: revisions.reserved - 1, maxCount: HOLD_EVENTS });
  const settlementFrom = revisions.settled - SETTLEMENT_EVENTS + 1;
  const [beforeCharge, charge, refund, settlement] = await ledger.accountEvents({
    accountId,
    fromRevision: settlementFrom,
    maxCount: SETTLEMENT_EVENTS,
  });
  const events = {
    hold: eventBody(factOf(hold, 'CreditReserved', runId)),
    charge: eventBody(factOf(charge, 'UsageRecorded', runId)),
    refund: eventBody(factOf(refund, 'CreditRefunded', runId)),
    settlement: eventBody(factOf(settlement, 'ReservationSettled', runId)),
  };
  return {
    service,
    unit: record.unit,
    ...factsOfEvents(events),
    events,
    chain: { hold: linksOf(beforeHold, hold), settlement: linksOf(beforeCharge, settlement) },
    reserved_at: isoTime(hold?.metadata.occurredAtMs ?? 0),
    issued_at: isoTime(settlement?.metadata.occurredAtMs ?? 0),
  };
}

/** The fields of a receipt that its events say again. */
export function factsOfEvents(events: ReceiptFacts['events']) {
  const reserved = decoded(events.hold, 'CreditReserved');
  const used = decoded(events.charge, 'UsageRecorded');
  const refunded = decoded(events.refund, 'CreditRefunded');
  const settled = decoded(events.settlement, 'ReservationSettled');
  const { holder, accountId, runId } = reserved;
  const payer = { kind: holder.kind, id: holder.kind === 'consumer' ? holder.consumerId : holder.projectId, account_id: accountId };
  return {
    request_id: requestIdOfRun(runId),
    run_id: runId,
    project_id: holder.projectId,
    payer,
    model: reserved.model,
    system_fingerprint: settled.systemFingerprint ?? null,
    request_hash: reserved.requestHash ?? null,
    response_hash: settled.responseHash ?? null,
    outcome: settled.outcome,
    finish_reason: settled.finishReason,
    error_code: settled.errorCode,
    usage: usageBody(used),
    price: { version: reserved.priceVersion, terms: termsToWire(reserved.terms) as ReceiptFacts['price']['terms'] },
    held: formatAmount(reserved.heldNanos),
    charged: formatAmount(used.chargedNanos),
    refunded: formatAmount(refunded.refundedNanos),
  };
}

/** The event that a receipt quotes. Throws `ReceiptFactsError` when it is of another type. */
export function decoded<Type extends ReceiptEventType>(event: ReceiptEvent, type: Type): Extract<AccountEvent, { type: Type }> {
  if (event.type !== type) throw new ReceiptFactsError(`the ${type} is a ${event.type}`);
  return decodeAccountEvent(event) as Extract<AccountEvent, { type: Type }>;
}

/** Views and log have parted, or somebody has changed one of them. No receipt is made of that. */
export class ReceiptFactsError extends Error {
  override readonly name = 'ReceiptFactsError';
}

function factOf(recorded: RecordedEvent | undefined, type: ReceiptEventType, runId: string): RecordedEvent {
  if (recorded?.type !== type || recorded.data['runId'] !== runId) {
    throw new ReceiptFactsError(`the ${type} of ${runId} is not where the views say`);
  }
  return recorded;
}

function usageBody({ usage, usageSource }: UsageRecorded) {
  return {
    counted_by: usageSource === undefined ? ('engine' as const) : ('worker' as const),
    prompt_tokens: usage.promptTokens,
    cached_tokens: usage.cachedTokens,
    completion_tokens: usage.completionTokens,
    audio: usage.audio ?? null,
  };
}

function eventBody({ id, type, version, revision, position, data }: RecordedEvent): ReceiptEvent {
  return { id, type, version, revision, position, data: data as ReceiptEvent['data'] };
}

function linksOf(before: RecordedEvent | undefined, last: RecordedEvent | undefined) {
  return { before: before?.metadata.chain ?? null, after: last?.metadata.chain ?? null };
}
