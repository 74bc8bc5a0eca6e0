/** Shows a run's record, and its money step by step. */
import { type AudioUsage, formatAmount, type PriceTerms, requestIdOfRun } from '../../../../events/contract/index.js';
import { creditsField, isoTime, isoTimeOrNull } from '../../presentation/amounts.js';
import type { RequestRecord } from '../../read-model/read-model.js';
import { dearestUse, explainCharge, explainPrice, lineAmount, type PriceExplanation } from './explain-charge.js';

export function requestObject(record: RequestRecord) {
  return {
    id: requestIdOfRun(record.runId),
    object: 'request' as const,
    run_id: record.runId,
    status: record.status,
    model: record.model,
    billed_to: billedTo(record),
    key_id: record.keyId,
    usage: usageBody(record),
    finish_reason: record.finishReason,
    attempt: record.attempt,
    errors: record.errorCode === null ? [] : [{ code: record.errorCode }],
    unit: record.unit,
    held: formatAmount(record.heldNanos),
    charged: record.chargedNanos === null ? null : formatAmount(record.chargedNanos),
    refunded: record.refundedNanos === null ? null : formatAmount(record.refundedNanos),
    ...(record.chargedNanos === null ? {} : creditsField('credits_used', record.chargedNanos, record.unit)),
    price_version: record.priceVersion,
    created_at: isoTime(record.reservedAtMs),
    settled_at: isoTimeOrNull(record.settledAtMs),
    deadline_at: isoTime(record.deadlineAtMs),
  };
}

export function explanationObject(record: RequestRecord) {
  const hold = explainPrice(record.terms, dearestUse(record.terms, record));
  const price = record.usage === null ? null : explainPrice(record.terms, record.usage);
  const charge = price === null ? null : explainCharge(price.priceNanos, record);
  return {
    object: 'request.explanation' as const,
    request_id: requestIdOfRun(record.runId),
    run_id: record.runId,
    model: record.model,
    status: record.status,
    billed_to: billedTo(record),
    unit: record.unit,
    price: { version: record.priceVersion, ...termsBody(record.terms) },
    hold: {
      ...calculation(hold),
      prompt_tokens_max: record.promptTokensMax,
      output_tokens_budget: record.outputTokensBudget,
      ...(record.audioHeld === null ? {} : { audio: audioBody(record.audioHeld) }),
      amount: formatAmount(record.heldNanos),
    },
    usage: usageBody(record),
    charge:
      price === null || charge === null || record.chargedNanos === null || record.refundedNanos === null
        ? null
        : {
            ...calculation(price),
            waiver: charge.waiver,
            charged: formatAmount(record.chargedNanos),
            refunded: formatAmount(record.refundedNanos),
          },
    steps: steps(record),
    adds_up: charge?.addsUp == null ? null : charge.addsUp && hold.priceNanos === record.heldNanos,
  };
}

/** The four facts of the run, each with its event. Postings are those of the contract: held, then revenue or back to available. */
function steps(record: RequestRecord) {
  const { eventIds } = record;
  const heldAt = isoTime(record.reservedAtMs);
  const list = [
    {
      step: 'hold',
      event_type: 'CreditReserved',
      event_id: eventIds.reserved,
      at: heldAt,
      ...posting(record.heldNanos, 'available', 'held'),
    },
  ];
  if (record.settledAtMs === null) return list;
  const at = isoTime(record.settledAtMs);
  if (eventIds.usage !== null) {
    const moved = posting(record.chargedNanos ?? 0n, 'held', 'revenue');
    list.push({ step: 'charge', event_type: 'UsageRecorded', event_id: eventIds.usage, at, ...moved });
  }
  if (eventIds.refund !== null) {
    const moved = posting(record.refundedNanos ?? 0n, 'held', 'available');
    list.push({ step: 'refund', event_type: 'CreditRefunded', event_id: eventIds.refund, at, ...moved });
  }
  if (eventIds.settled !== null) {
    list.push({ step: 'settle', event_type: 'ReservationSettled', event_id: eventIds.settled, at, amount: null, from: null, to: null });
  }
  return list;
}

type Posted = { amount: string | null; from: string | null; to: string | null };

function posting(nanos: bigint, from: string, to: string): Posted {
  return nanos === 0n ? { amount: '0', from: null, to: null } : { amount: formatAmount(nanos), from, to };
}

function calculation(price: PriceExplanation) {
  return {
    lines: price.lines.map((line) => ({
      item: line.item,
      quantity: line.quantity,
      rate: formatAmount(line.rateNanos),
      per: Number(line.per),
      amount: lineAmount(line),
    })),
    exact: price.exact,
    rounding: price.rounding,
    price: formatAmount(price.priceNanos),
  };
}

function termsBody(terms: PriceTerms) {
  switch (terms.kind) {
    case 'per_run':
      return {
        kind: terms.kind,
        price_per_run: formatAmount(terms.pricePerRunNanos),
        included_tokens: terms.includedTokens,
        overage_per_thousand: formatAmount(terms.overagePerThousandNanos),
        overage_unit: terms.overageUnit,
        rounding: terms.rounding,
      };
    case 'per_token':
      return {
        kind: terms.kind,
        input_per_million: formatAmount(terms.inputPerMillionNanos),
        cached_input_per_million: formatAmount(terms.cachedInputPerMillionNanos),
        output_per_million: formatAmount(terms.outputPerMillionNanos),
        rounding: terms.rounding,
      };
    case 'per_started_thousand':
      return { kind: terms.kind, price_per_started_thousand: formatAmount(terms.pricePerStartedThousandNanos) };
    case 'per_started_audio_bytes':
      return {
        kind: terms.kind,
        bytes_per_unit: terms.bytesPerUnit,
        price_per_started_unit: formatAmount(terms.pricePerStartedUnitNanos),
      };
    case 'per_audio_minute':
      return { kind: terms.kind, price_per_minute: formatAmount(terms.pricePerMinuteNanos), rounding: terms.rounding };
    case 'free':
      return { kind: terms.kind, reason: terms.reason };
  }
}

function billedTo(record: RequestRecord) {
  return record.consumerId === null
    ? { kind: 'project' as const, id: record.projectId }
    : { kind: 'consumer' as const, id: record.consumerId };
}

function usageBody({ usage, usageSource }: RequestRecord) {
  if (usage === null) return null;
  return {
    counted_by: usageSource === 'engine' ? ('engine' as const) : ('worker' as const),
    prompt_tokens: usage.promptTokens,
    cached_tokens: usage.cachedTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    ...(usage.audio === undefined ? {} : { audio: audioBody(usage.audio) }),
  };
}

function audioBody({ bytes, milliseconds }: AudioUsage) {
  return { bytes, milliseconds };
}
