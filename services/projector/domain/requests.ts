/** One row per run, gathered from its four facts. */
import {
  type CreditReserved,
  type FinishReason,
  type RunOutcome,
  type TokenUsage,
  termsToWire,
  unreachableEvent,
} from '../../../events/contract/index.js';
import { consumerIdOf, type ProjectedEvent, projectIdOf } from './projected-event.js';

/** What the reservation tells of a run. */
export type ReservedPart = {
  readonly accountId: string;
  readonly projectId: string;
  readonly consumerId: string | null;
  readonly keyId: string;
  readonly model: string;
  readonly unit: string;
  readonly heldNanos: bigint;
  readonly priceVersion: string;
  readonly terms: string;
  readonly promptTokensMax: number;
  readonly outputTokensBudget: number;
  readonly reservedAtMs: number;
  readonly deadlineMs: number;
  readonly eventId: string;
};

/** What is known of a run so far; a part is `null` until its event has come. */
export type RequestChange = {
  readonly runId: string;
  reserved: ReservedPart | null;
  usage: { readonly usage: TokenUsage; readonly chargedNanos: bigint; readonly eventId: string } | null;
  refund: { readonly refundedNanos: bigint; readonly eventId: string } | null;
  settled: {
    readonly outcome: RunOutcome;
    readonly finishReason: FinishReason | null;
    readonly errorCode: string | null;
    readonly attempt: number;
    readonly settledAtMs: number;
    readonly eventId: string;
  } | null;
};

export type RequestChanges = Map<string, RequestChange>;

export function applyToRequests(changes: RequestChanges, projected: ProjectedEvent): void {
  const { event, eventId, occurredAtMs } = projected;
  switch (event.type) {
    case 'AccountOpened':
    case 'CreditGranted':
      return;
    case 'CreditReserved':
      changeOf(changes, event.runId).reserved = reservedPartOf(event, projected);
      return;
    case 'UsageRecorded':
      changeOf(changes, event.runId).usage = { usage: event.usage, chargedNanos: event.chargedNanos, eventId };
      return;
    case 'CreditRefunded':
      changeOf(changes, event.runId).refund = { refundedNanos: event.refundedNanos, eventId };
      return;
    case 'ReservationSettled': {
      const { outcome, finishReason, errorCode, attempt } = event;
      changeOf(changes, event.runId).settled = { outcome, finishReason, errorCode, attempt, settledAtMs: occurredAtMs, eventId };
      return;
    }
    default:
      unreachableEvent(event);
  }
}

function changeOf(changes: RequestChanges, runId: string): RequestChange {
  let change = changes.get(runId);
  if (change === undefined) {
    change = { runId, reserved: null, usage: null, refund: null, settled: null };
    changes.set(runId, change);
  }
  return change;
}

function reservedPartOf(event: CreditReserved, { account, eventId, occurredAtMs }: ProjectedEvent): ReservedPart {
  return {
    accountId: account.accountId,
    projectId: projectIdOf(account),
    consumerId: consumerIdOf(account),
    keyId: event.keyId,
    model: event.model,
    unit: account.unit,
    heldNanos: event.heldNanos,
    priceVersion: event.priceVersion,
    terms: JSON.stringify(termsToWire(event.terms)),
    promptTokensMax: event.promptTokensMax,
    outputTokensBudget: event.outputTokensBudget,
    reservedAtMs: occurredAtMs,
    deadlineMs: event.deadlineMs,
    eventId,
  };
}
