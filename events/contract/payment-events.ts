/**
 * The facts of a payment's life, each payment a stream of its own. A payment says what was asked for, what the provider confirmed, and which
 * amounts follow for the account; the amounts themselves are `CreditGranted` on the account's stream, under the grant ids frozen here, so that
 * each is booked once whoever books it and however often.
 *
 * Money at a provider is counted in minor units of its currency (cents, kobo); credit in nanos of the preset's unit.
 */
import { z } from 'zod';
import type { AccountHolder, Environment } from './account-events.js';
import type { JsonObject, NewEvent } from './envelope.js';
import { eventIdOf, makeId } from './ids.js';
import type { Nanos } from './money.js';

/** What is bought, for whom, and where its buyer goes afterwards. */
export type CheckoutTerms = {
  readonly paymentId: string;
  /** Shown to people and to the provider. */
  readonly reference: string;
  readonly provider: string;
  /** `live` money, or a provider's test mode. */
  readonly mode: Environment;
  readonly environment: Environment;
  readonly accountId: string;
  readonly holder: AccountHolder;
  readonly unit: string;
  /** Of an account that the credit finds missing. */
  readonly starterNanos: Nanos;
  readonly packId: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly creditNanos: Nanos;
  /** Digest of what makes two requests the same purchase. */
  readonly attempt: string;
  readonly successUrl: string | null;
  readonly cancelUrl: string | null;
};

/** Somebody wants to buy a pack. Appended before the provider is asked, so that no money can come for a payment nobody knows. */
export type CheckoutOpened = { readonly type: 'CheckoutOpened' } & CheckoutTerms;

/** The provider has a page where it can be paid. */
export type CheckoutOffered = {
  readonly type: 'CheckoutOffered';
  readonly paymentId: string;
  /** The provider's own name for the checkout. */
  readonly providerReference: string;
  readonly authorizationUrl: string;
  readonly expiresAtMs: number;
};

/** Who asked the provider. */
export const PAYMENT_SOURCES = ['webhook', 'return', 'reconciliation', 'request'] as const;
export type PaymentSource = (typeof PAYMENT_SOURCES)[number];

/** The provider says that what was asked for has been paid. */
export type PaymentVerified = {
  readonly type: 'PaymentVerified';
  readonly paymentId: string;
  readonly providerReference: string;
  /** The charge or transaction. */
  readonly providerPaymentId: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly source: PaymentSource;
  /** Under which the credit is granted. */
  readonly grantId: string;
  readonly creditNanos: Nanos;
};

export const PAYMENT_MISMATCHES = ['amount', 'currency', 'mode', 'account', 'reference'] as const;
export type PaymentMismatch = (typeof PAYMENT_MISMATCHES)[number];

/** Money came that is not what was asked for. Nothing is credited; staff decide. */
export type PaymentMismatched = {
  readonly type: 'PaymentMismatched';
  readonly paymentId: string;
  readonly mismatch: PaymentMismatch;
  readonly providerPaymentId: string;
  readonly amountMinor: bigint;
  readonly currency: string;
};

export type PaymentFailed = { readonly type: 'PaymentFailed'; readonly paymentId: string; readonly reason: string };
export type PaymentAbandoned = { readonly type: 'PaymentAbandoned'; readonly paymentId: string };

type Reversal = {
  readonly paymentId: string;
  /** The provider's name for the refund or dispute. */
  readonly reversalId: string;
};
type ReversalWithCredit = Reversal & {
  readonly amountMinor: bigint;
  /** Signed: what the account loses (negative) or gets back. */
  readonly creditNanos: Nanos;
  /** Under which it is booked; `null` where `creditNanos` is zero. */
  readonly grantId: string | null;
};

export type PaymentRefunded = { readonly type: 'PaymentRefunded' } & ReversalWithCredit;
/** The provider could not return the money after all. */
export type RefundFailed = { readonly type: 'RefundFailed' } & ReversalWithCredit;
export type DisputeOpened = { readonly type: 'DisputeOpened' } & ReversalWithCredit;
export type DisputeWon = { readonly type: 'DisputeWon' } & ReversalWithCredit;
/** What the opening took stays taken. */
export type DisputeLost = { readonly type: 'DisputeLost' } & Reversal;

/** The account's books hold the amount. */
export type PaymentBooked = {
  readonly type: 'PaymentBooked';
  readonly paymentId: string;
  readonly grantId: string;
  /** The `CreditGranted`. */
  readonly eventId: string;
  readonly creditNanos: Nanos;
};

export type PaymentEvent =
  | CheckoutOpened
  | CheckoutOffered
  | PaymentVerified
  | PaymentMismatched
  | PaymentFailed
  | PaymentAbandoned
  | PaymentRefunded
  | RefundFailed
  | DisputeOpened
  | DisputeWon
  | DisputeLost
  | PaymentBooked;
export type PaymentEventType = PaymentEvent['type'];

const PAYMENT_EVENT_VERSION = 1;
const PAYMENT_STREAM_PREFIX = 'payment-';

export function paymentStream(paymentId: string): string {
  return `${PAYMENT_STREAM_PREFIX}${paymentId}`;
}

/** The payment a stream belongs to, or `null` when it is not a payment's stream. */
export function paymentIdOfStream(stream: string): string | null {
  return stream.startsWith(PAYMENT_STREAM_PREFIX) ? stream.slice(PAYMENT_STREAM_PREFIX.length) : null;
}

/** Grants of one payment that have names: two base-32 digits. */
export const GRANT_ORDINALS_MAX = 1_024;
const GRANT_ORDINAL_DIGITS = 2;
const NO_RANDOM = new Uint8Array(10);

/** The grant that books a payment's `ordinal`th amount. It carries a time, because ledgers tell old grant ids from forgotten ones by it. */
export function paymentGrantId(paymentId: string, timeMs: number, ordinal: number): string {
  const digits = ordinal.toString(32).padStart(GRANT_ORDINAL_DIGITS, '0');
  const timed = makeId('grt', timeMs, NO_RANDOM);
  const own = paymentId.slice(-(ID_RANDOM_CHARACTERS - GRANT_ORDINAL_DIGITS));
  return `${timed.slice(0, -ID_RANDOM_CHARACTERS)}${own}${crockford(digits)}`;
}

const ID_RANDOM_CHARACTERS = 16;

/** `toString(32)` counts 0-9a-v; ids are in Crockford's alphabet. */
function crockford(digits: string): string {
  return [...digits].map((digit) => '0123456789abcdefghjkmnpqrstvwxyz'.charAt(Number.parseInt(digit, 32))).join('');
}

const integer = z
  .string()
  .regex(/^-?\d{1,30}$/)
  .transform((text) => BigInt(text));
const id = z.string().min(1).max(80);
/** Names that providers make; Stripe's session ids have 66 characters. */
const foreignId = z.string().min(1).max(255);
const url = z.string().max(4_096);
const currency = z.string().regex(/^[A-Z]{3}$/);
const environment = z.enum(['live', 'test']);
const holder = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('project'), projectId: id }),
  z.strictObject({ kind: z.literal('consumer'), projectId: id, consumerId: id }),
]);
const reversal = { paymentId: id, reversalId: foreignId };
const reversalWithCredit = { ...reversal, amountMinor: integer, creditNanos: integer, grantId: id.nullable() };

/** Wire shapes. Payments are few, so each event is checked when it is read. */
export const PAYMENT_EVENT_WIRE_SCHEMAS = {
  CheckoutOpened: z.strictObject({
    paymentId: id,
    reference: z.string().max(100),
    provider: z.string().max(40),
    mode: environment,
    environment,
    accountId: id,
    holder,
    unit: z.string().min(1).max(20),
    starterNanos: integer,
    packId: z.string().max(64),
    amountMinor: integer,
    currency,
    creditNanos: integer,
    attempt: z.string().max(100),
    successUrl: url.nullable(),
    cancelUrl: url.nullable(),
  }),
  CheckoutOffered: z.strictObject({ paymentId: id, providerReference: foreignId, authorizationUrl: url, expiresAtMs: z.number().int() }),
  PaymentVerified: z.strictObject({
    paymentId: id,
    providerReference: foreignId,
    providerPaymentId: foreignId,
    amountMinor: integer,
    currency,
    source: z.enum(PAYMENT_SOURCES),
    grantId: id,
    creditNanos: integer,
  }),
  PaymentMismatched: z.strictObject({
    paymentId: id,
    mismatch: z.enum(PAYMENT_MISMATCHES),
    providerPaymentId: foreignId,
    amountMinor: integer,
    currency: z.string().max(10),
  }),
  PaymentFailed: z.strictObject({ paymentId: id, reason: z.string().max(200) }),
  PaymentAbandoned: z.strictObject({ paymentId: id }),
  PaymentRefunded: z.strictObject(reversalWithCredit),
  RefundFailed: z.strictObject(reversalWithCredit),
  DisputeOpened: z.strictObject(reversalWithCredit),
  DisputeWon: z.strictObject(reversalWithCredit),
  DisputeLost: z.strictObject(reversal),
  PaymentBooked: z.strictObject({ paymentId: id, grantId: id, eventId: id, creditNanos: integer }),
} as const satisfies Record<PaymentEventType, z.ZodType>;

/** Makes an appendable event; its id derives from the command, so a retry carries the same one. */
export function toNewPaymentEvent(event: PaymentEvent, command: { readonly commandId: string; readonly nowMs: number }): NewEvent {
  const { type, ...fields } = event;
  const data: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) data[name] = typeof value === 'bigint' ? value.toString() : value;
  return {
    id: eventIdOf(command.commandId, type),
    type,
    version: PAYMENT_EVENT_VERSION,
    data: data as JsonObject,
    metadata: { commandId: command.commandId, occurredAtMs: command.nowMs },
  };
}

/** Throws for an event that this build does not know: skipping it would falsify the books. */
export function decodePaymentEvent(stored: { readonly type: string; readonly version: number; readonly data: JsonObject }): PaymentEvent {
  const schema = PAYMENT_EVENT_WIRE_SCHEMAS[stored.type as PaymentEventType];
  if (schema === undefined || stored.version !== PAYMENT_EVENT_VERSION) {
    throw new Error(`unknown payment event ${stored.type} version ${stored.version}`);
  }
  return { type: stored.type, ...(schema.parse(stored.data) as object) } as PaymentEvent;
}
