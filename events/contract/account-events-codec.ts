/**
 * Converts account events to and from the JSON that stores and topics carry. Written by hand because a rebuild decodes hundreds of thousands
 * a second; the zod schemas beside it state the wire shape, and a test holds the two together.
 */
import { z } from 'zod';
import {
  type AccountEvent,
  type AccountEventType,
  type AccountHolder,
  type AccountOpened,
  type CreditGranted,
  type CreditRefunded,
  type CreditReserved,
  FINISH_REASONS,
  type Posting,
  type ReservationSettled,
  type UsageRecorded,
} from './account-events.js';
import type { JsonObject, JsonValue, NewEvent } from './envelope.js';
import { eventIdOf } from './ids.js';
import {
  COUNTED_LOCALLY,
  type PriceTermsWire,
  PriceTermsWireSchema,
  type TokenUsage,
  TokenUsageSchema,
  termsFromWire,
  termsToWire,
} from './pricing.js';

/** The newest version of each event's wire shape. Raise one together with an upcaster from the version before. */
export const ACCOUNT_EVENT_VERSIONS: Readonly<Record<AccountEventType, number>> = {
  AccountOpened: 1,
  CreditGranted: 1,
  CreditReserved: 1,
  UsageRecorded: 1,
  CreditRefunded: 1,
  ReservationSettled: 1,
};

/** Brings `data` of version N to version N + 1. Key: `<type>/<N>`. */
export type Upcaster = (data: JsonObject) => JsonObject;

/** Upcasters of account events. Empty while every shape is at version 1. */
export const ACCOUNT_EVENT_UPCASTERS: ReadonlyMap<string, Upcaster> = new Map();

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const nanos = z.string().regex(/^-?\d{1,30}$/);
const id = z.string().min(1).max(80);
const ledgerAccount = z.string().regex(/^(available|held|revenue|promotions|adjustments|expired|payments:[a-z0-9_-]{1,40})$/);
const postings = z.array(z.strictObject({ from: ledgerAccount, to: ledgerAccount, amountNanos: nanos }));
const holder = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('project'), projectId: id }),
  z.strictObject({ kind: z.literal('consumer'), projectId: id, consumerId: id }),
]);

/** Wire shapes at their newest versions. */
export const ACCOUNT_EVENT_WIRE_SCHEMAS = {
  AccountOpened: z.strictObject({ accountId: id, holder, unit: z.string().min(1).max(20), environment: z.enum(['live', 'test']) }),
  CreditGranted: z.strictObject({
    accountId: id,
    grantId: id,
    kind: z.enum(['starter', 'adjustment', 'top_up', 'clawback']),
    amountNanos: nanos,
    reason: z.string().max(500),
    postings,
  }),
  CreditReserved: z.strictObject({
    accountId: id,
    runId: id,
    holder,
    keyId: id,
    model: z.string().max(200),
    heldNanos: nanos,
    priceVersion: z.string().max(80),
    terms: PriceTermsWireSchema,
    promptTokensMax: z.number().int().nonnegative(),
    outputTokensBudget: z.number().int().nonnegative(),
    cancelPolicy: z.enum(['charge_generated', 'refund_all']),
    deadlineMs: z.number().int().nonnegative(),
    audio: z.strictObject({ bytes: z.number().int().nonnegative(), milliseconds: z.number().int().nonnegative() }).optional(),
    requestHash: hash.optional(),
    postings,
  }),
  UsageRecorded: z.strictObject({
    accountId: id,
    runId: id,
    usage: TokenUsageSchema,
    usageSource: z.literal(COUNTED_LOCALLY).optional(),
    chargedNanos: nanos,
    postings,
  }),
  CreditRefunded: z.strictObject({ accountId: id, runId: id, refundedNanos: nanos, postings }),
  ReservationSettled: z.strictObject({
    accountId: id,
    runId: id,
    outcome: z.enum(['completed', 'cancelled', 'failed', 'expired']),
    finishReason: z.enum(FINISH_REASONS).nullable(),
    errorCode: z.string().max(80).nullable(),
    chargedNanos: nanos,
    refundedNanos: nanos,
    attempt: z.number().int().nonnegative(),
    responseHash: hash.optional(),
    systemFingerprint: z.string().max(200).optional(),
  }),
} as const satisfies Record<AccountEventType, z.ZodType>;

/** Makes an appendable event; its id derives from the command, so a retry carries the same one. */
export function toNewEvent(event: AccountEvent, command: { readonly commandId: string; readonly nowMs: number }): NewEvent {
  return {
    id: eventIdOf(command.commandId, event.type),
    type: event.type,
    version: ACCOUNT_EVENT_VERSIONS[event.type],
    data: encodeAccountEvent(event),
    metadata: { commandId: command.commandId, occurredAtMs: command.nowMs },
  };
}

/** Every field of an event, optional ones too, so that the compiler misses what is forgotten. JSON leaves out what is undefined. */
type Body<Event extends AccountEvent> = Readonly<Record<Exclude<keyof Event, 'type'>, JsonValue | undefined>>;

/**
 * The JSON body of an event; `type` travels in the envelope. Keys are written in the order of canonical JSON, at every depth: the account's
 * hash chain then need not sort those of each event.
 */
export function encodeAccountEvent(event: AccountEvent): JsonObject {
  return bodyOf(event) as JsonObject;
}

function bodyOf(event: AccountEvent) {
  switch (event.type) {
    case 'AccountOpened': {
      const { accountId, environment, holder, unit } = event;
      return { accountId, environment, holder: encodeHolder(holder), unit } satisfies Body<AccountOpened>;
    }
    case 'CreditGranted':
      return {
        accountId: event.accountId,
        amountNanos: event.amountNanos.toString(),
        grantId: event.grantId,
        kind: event.kind,
        postings: encodePostings(event.postings),
        reason: event.reason,
      } satisfies Body<CreditGranted>;
    case 'CreditReserved':
      return {
        accountId: event.accountId,
        audio: event.audio,
        cancelPolicy: event.cancelPolicy,
        deadlineMs: event.deadlineMs,
        heldNanos: event.heldNanos.toString(),
        holder: encodeHolder(event.holder),
        keyId: event.keyId,
        model: event.model,
        outputTokensBudget: event.outputTokensBudget,
        postings: encodePostings(event.postings),
        priceVersion: event.priceVersion,
        promptTokensMax: event.promptTokensMax,
        requestHash: event.requestHash,
        runId: event.runId,
        terms: termsToWire(event.terms),
      } satisfies Body<CreditReserved>;
    case 'UsageRecorded':
      return {
        accountId: event.accountId,
        chargedNanos: event.chargedNanos.toString(),
        postings: encodePostings(event.postings),
        runId: event.runId,
        usage: encodeUsage(event.usage),
        usageSource: event.usageSource,
      } satisfies Body<UsageRecorded>;
    case 'CreditRefunded': {
      const { accountId, postings, refundedNanos, runId } = event;
      return {
        accountId,
        postings: encodePostings(postings),
        refundedNanos: refundedNanos.toString(),
        runId,
      } satisfies Body<CreditRefunded>;
    }
    case 'ReservationSettled':
      return {
        accountId: event.accountId,
        attempt: event.attempt,
        chargedNanos: event.chargedNanos.toString(),
        errorCode: event.errorCode,
        finishReason: event.finishReason,
        outcome: event.outcome,
        refundedNanos: event.refundedNanos.toString(),
        responseHash: event.responseHash,
        runId: event.runId,
        systemFingerprint: event.systemFingerprint,
      } satisfies Body<ReservationSettled>;
  }
}

/** An event that this build does not know, or whose version is newer than it can read. Readers stop: skipping it would falsify the books. */
export class UnreadableEventError extends Error {
  override readonly name = 'UnreadableEventError';
}

/** Decodes what a store or topic holds, upcasting older versions first. Trusts the shape: it was checked when it was appended. */
export function decodeAccountEvent(stored: { readonly type: string; readonly version: number; readonly data: JsonObject }): AccountEvent {
  const type = stored.type as AccountEventType;
  const newest = ACCOUNT_EVENT_VERSIONS[type];
  if (newest === undefined) throw new UnreadableEventError(`unknown account event type ${stored.type}`);
  const data = stored.version === newest ? stored.data : upcast(type, stored.version, newest, stored.data, ACCOUNT_EVENT_UPCASTERS);
  // The wire schemas say what `data` is; the cast stands in for a validation that the rebuild could not afford.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  const wire = data as any;
  switch (type) {
    case 'AccountOpened':
      return { type, ...wire };
    case 'CreditGranted':
      return { type, ...wire, amountNanos: BigInt(wire.amountNanos), postings: decodePostings(wire.postings) };
    case 'CreditReserved':
      return {
        type,
        ...wire,
        heldNanos: BigInt(wire.heldNanos),
        terms: termsFromWire(wire.terms as PriceTermsWire),
        postings: decodePostings(wire.postings),
      };
    case 'UsageRecorded':
      return { type, ...wire, chargedNanos: BigInt(wire.chargedNanos), postings: decodePostings(wire.postings) };
    case 'CreditRefunded':
      return { type, ...wire, refundedNanos: BigInt(wire.refundedNanos), postings: decodePostings(wire.postings) };
    case 'ReservationSettled':
      return { type, ...wire, chargedNanos: BigInt(wire.chargedNanos), refundedNanos: BigInt(wire.refundedNanos) };
  }
}

/** Walks the upcasters from `from` to `to`. Throws `UnreadableEventError` when a step is missing or the event is newer than this build. */
export function upcast(type: string, from: number, to: number, data: JsonObject, upcasters: ReadonlyMap<string, Upcaster>): JsonObject {
  if (from > to) throw new UnreadableEventError(`${type} version ${from} is newer than this build reads (${to})`);
  let current = data;
  for (let version = from; version < to; version += 1) {
    const step = upcasters.get(`${type}/${version}`);
    if (step === undefined) throw new UnreadableEventError(`no upcaster for ${type} version ${version}`);
    current = step(current);
  }
  return current;
}

function encodePostings(list: readonly Posting[]): JsonObject[] {
  return list.map(({ amountNanos, from, to }) => ({ amountNanos: amountNanos.toString(), from, to }));
}

function encodeHolder(holder: AccountHolder): JsonObject {
  const { kind, projectId } = holder;
  return holder.kind === 'project' ? { kind, projectId } : { consumerId: holder.consumerId, kind, projectId };
}

function encodeUsage({ audio, cachedTokens, completionTokens, promptTokens }: TokenUsage): JsonObject {
  const tokens = { cachedTokens, completionTokens, promptTokens };
  return audio === undefined ? tokens : { audio, ...tokens };
}

function decodePostings(list: readonly { from: Posting['from']; to: Posting['to']; amountNanos: string }[]): Posting[] {
  return list.map((posting) => ({ from: posting.from, to: posting.to, amountNanos: BigInt(posting.amountNanos) }));
}
