/** One row per run, gathered from its four facts. */
import {
  type AudioUsage,
  type CancelPolicy,
  type CreditReserved,
  type FinishReason,
  type ReservationSettled,
  type RunOutcome,
  type TokenUsage,
  termsToWire,
  type UsageSource,
  unreachableEvent,
} from '../../../events/contract/index.js';
import { BrokenBooksError } from './broken-books-error.js';
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
  readonly cancelPolicy: CancelPolicy;
  readonly reservedAtMs: number;
  readonly deadlineMs: number;
  readonly audio: AudioUsage | null;
  readonly requestHash: string | null;
  readonly revision: number;
  readonly eventId: string;
};

/** What is known of a run so far; a part is `null` until its event has come. */
export type RequestChange = {
  readonly runId: string;
  reserved: ReservedPart | null;
  usage: {
    readonly usage: TokenUsage;
    readonly usageSource: UsageSource | null;
    readonly chargedNanos: bigint;
    readonly eventId: string;
  } | null;
  refund: { readonly refundedNanos: bigint; readonly eventId: string } | null;
  settled: {
    readonly outcome: RunOutcome;
    readonly finishReason: FinishReason | null;
    readonly errorCode: string | null;
    readonly attempt: number;
    readonly responseHash: string | null;
    readonly systemFingerprint: string | null;
    readonly settledAtMs: number;
    readonly revision: number;
    readonly eventId: string;
  } | null;
};

export type RequestChanges = Map<string, RequestChange>;

/** The entry that a run's events gather in. */
export function requestChangeOf(changes: RequestChanges, runId: string): RequestChange {
  let change = changes.get(runId);
  if (change === undefined) {
    change = { runId, reserved: null, usage: null, refund: null, settled: null };
    changes.set(runId, change);
  }
  return change;
}

/** Adds the event to its run's entry. Throws `BrokenBooksError` when a settlement contradicts the run's other facts. */
export function applyToRequests(projected: ProjectedEvent): void {
  const { event, eventId, revision, occurredAtMs, run } = projected;
  if (run === null) return;
  switch (event.type) {
    case 'AccountOpened':
    case 'CreditGranted':
      return;
    case 'CreditReserved':
      run.reserved = reservedPartOf(event, projected);
      return;
    case 'UsageRecorded':
      run.usage = { usage: event.usage, usageSource: event.usageSource ?? null, chargedNanos: event.chargedNanos, eventId };
      return;
    case 'CreditRefunded':
      run.refund = { refundedNanos: event.refundedNanos, eventId };
      return;
    case 'ReservationSettled': {
      assertSettlement(event, run);
      const { outcome, finishReason, errorCode, attempt, responseHash = null, systemFingerprint = null } = event;
      const result = { outcome, finishReason, errorCode, attempt, responseHash, systemFingerprint };
      run.settled = { ...result, settledAtMs: occurredAtMs, revision, eventId };
      return;
    }
    default:
      unreachableEvent(event);
  }
}

/** Charged and refunded make up the hold. Facts of an earlier page are not at hand here; the table's own check covers those. */
function assertSettlement({ runId, chargedNanos, refundedNanos }: ReservationSettled, { reserved, usage, refund }: RequestChange): void {
  const isConsistent =
    (reserved === null || chargedNanos + refundedNanos === reserved.heldNanos) &&
    (usage === null || usage.chargedNanos === chargedNanos) &&
    (refund === null || refund.refundedNanos === refundedNanos);
  if (!isConsistent) throw new BrokenBooksError(`run ${runId} settles at ${chargedNanos} and ${refundedNanos}, unlike its other facts`);
}

/** Takes the runs that have ended out of `changes`; they will not change any more. */
export function takeSettled(changes: RequestChanges): RequestChange[] {
  const settled: RequestChange[] = [];
  for (const request of changes.values()) if (request.settled !== null) settled.push(request);
  for (const request of settled) changes.delete(request.runId);
  return settled;
}

function reservedPartOf(event: CreditReserved, { account, eventId, revision, occurredAtMs }: ProjectedEvent): ReservedPart {
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
    cancelPolicy: event.cancelPolicy,
    reservedAtMs: occurredAtMs,
    deadlineMs: event.deadlineMs,
    audio: event.audio ?? null,
    requestHash: event.requestHash ?? null,
    revision,
    eventId,
  };
}
