/**
 * The ledger's internal protocol: a POST carries a batch of calls, its answer their outcomes in the same order. Only the API's instances
 * speak it. Nanos travel as `{"nanos": "123"}`, because JSON numbers would lose them.
 */
import { z } from 'zod';
import {
  COUNTED_LOCALLY,
  FINISH_REASONS,
  type PriceTerms,
  PriceTermsWireSchema,
  RUN_ERROR_CODES,
  TokenUsageSchema,
  termsFromWire,
  termsToWire,
} from '../../../events/contract/index.js';
import type { SettleReservationCommand } from '../domain/commands.js';
import { ACCOUNT_EVENTS_MAX, type LedgerClient, type PaymentCommand } from '../ledger-client.js';
import { PaymentCommandSchema } from '../payments/payment-wire.js';

export const CALLS_PATH = '/internal/v1/ledger/calls';

/** Calls in one request. What 64 callers leave behind in a turn fits several times. */
export const CALLS_PER_REQUEST_MAX = 256;

/** A call is about a kilobyte. */
export const CALLS_BYTES_MAX = 1024 * 1024;

/** The secret that API and ledger share: long enough that nobody guesses it. */
export const ledgerSecretText = z.string().min(24, 'must have at least 24 characters').max(200);

/** Base URL of one ledger instance. */
export const ledgerUrl = z.url({ protocol: /^https?$/, error: 'must be an http:// URL' }).transform((url) => url.replace(/\/+$/, ''));

/** Of all of them, separated by commas; the same list, in any order, for everybody who calls them. */
export const ledgerUrls = z
  .string()
  .transform((text) => text.split(',').map((url) => url.trim()))
  .pipe(z.array(ledgerUrl).min(1));

const id = z.string().min(1).max(200);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.number().int().nonnegative();
const environment = z.enum(['live', 'test']);

const Opening = z.strictObject({
  holder: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('project'), projectId: id }),
    z.strictObject({ kind: z.literal('consumer'), projectId: id, consumerId: id }),
  ]),
  unit: z.string().min(1).max(20),
  environment,
  starterNanos: z.bigint().nonnegative(),
});

const Reserve = z.strictObject({
  accountId: id,
  runId: id,
  opening: Opening,
  keyId: id,
  model: z.string().min(1).max(500),
  priceVersion: z.string().max(500),
  terms: PriceTermsWireSchema.transform((terms): PriceTerms => termsFromWire(terms)),
  promptTokensMax: count,
  outputTokensMax: count,
  outputTokensExplicit: z.boolean(),
  outputTokensMin: count.optional(),
  audio: z.strictObject({ bytes: count, milliseconds: count }).optional(),
  requestHash: sha256.optional(),
  cancelPolicy: z.enum(['charge_generated', 'refund_all']),
  deadlineMs: count,
});

const Grant = z.strictObject({
  accountId: id,
  grantId: id,
  opening: Opening,
  kind: z.enum(['starter', 'adjustment', 'top_up', 'clawback']),
  amountNanos: z.bigint(),
  reason: z.string().max(2_000),
  provider: z.string().max(100).optional(),
});

const Settle = z.strictObject({
  type: z.literal('SettleReservation'),
  accountId: id,
  runId: id,
  outcome: z.enum(['completed', 'cancelled', 'failed']),
  finishReason: z.enum(FINISH_REASONS).nullable(),
  usage: TokenUsageSchema,
  usageSource: z.literal(COUNTED_LOCALLY).optional(),
  errorCode: z.string().max(80).nullable(),
  attempt: count,
  responseHash: sha256.optional(),
  systemFingerprint: z.string().max(500).optional(),
});

const CallSchema = z.discriminatedUnion('method', [
  z.strictObject({ method: z.literal('openAccount'), command: z.strictObject({ accountId: id, opening: Opening }) }),
  z.strictObject({ method: z.literal('reserve'), command: Reserve }),
  z.strictObject({ method: z.literal('grant'), command: Grant }),
  z.strictObject({ method: z.literal('balance'), accountId: id }),
  z.strictObject({ method: z.literal('settle'), command: Settle }),
  z.strictObject({ method: z.literal('reservation'), accountId: id, runId: id }),
  z.strictObject({
    method: z.literal('abandonRun'),
    run: z.strictObject({ accountId: id, runId: id, errorCode: z.enum(RUN_ERROR_CODES) }),
  }),
  z.strictObject({
    method: z.literal('accountEvents'),
    range: z.strictObject({ accountId: id, fromRevision: count, maxCount: count.min(1).max(ACCOUNT_EVENTS_MAX) }),
  }),
  z.strictObject({ method: z.literal('submitPayment'), command: PaymentCommandSchema }),
  z.strictObject({ method: z.literal('payment'), paymentId: id }),
]);

/** One call of the LedgerClient or the PaymentsClient; or, of one ledger instance to another, a settlement. */
export type LedgerCall =
  | { readonly method: 'openAccount'; readonly command: Parameters<LedgerClient['openAccount']>[0] }
  | { readonly method: 'reserve'; readonly command: Parameters<LedgerClient['reserve']>[0] }
  | { readonly method: 'grant'; readonly command: Parameters<LedgerClient['grant']>[0] }
  | { readonly method: 'settle'; readonly command: SettleReservationCommand }
  | { readonly method: 'balance'; readonly accountId: string }
  | { readonly method: 'reservation'; readonly accountId: string; readonly runId: string }
  | { readonly method: 'abandonRun'; readonly run: Parameters<LedgerClient['abandonRun']>[0] }
  | { readonly method: 'accountEvents'; readonly range: Parameters<LedgerClient['accountEvents']>[0] }
  | { readonly method: 'submitPayment'; readonly command: PaymentCommand }
  | { readonly method: 'payment'; readonly paymentId: string };

/** `unavailable`: the outcome could not be learnt; asking again with the same ids is safe. `failed`: a fault of ours. */
export type CallOutcome =
  | { readonly status: 'ok'; readonly result: unknown }
  | { readonly status: 'unavailable'; readonly message: string }
  | { readonly status: 'failed'; readonly message: string };

export function callsToText(calls: readonly LedgerCall[]): string {
  return JSON.stringify(calls.map(callToWire), tagNanos);
}

/** Throws a `ZodError` or `SyntaxError` for what is no batch of calls. */
export function callsFromText(text: string): LedgerCall[] {
  const calls = z.array(CallSchema).min(1).max(CALLS_PER_REQUEST_MAX).parse(JSON.parse(text, untagNanos));
  // Under exactOptionalPropertyTypes an absent provider and an undefined one differ; the decoder only ever leaves it out.
  return calls as LedgerCall[];
}

export function outcomesToText(outcomes: readonly CallOutcome[]): string {
  return JSON.stringify(outcomes, tagNanos);
}

/** Throws when the answer is not one outcome for each of `calls`. */
export function outcomesFromText(text: string, calls: number): CallOutcome[] {
  const outcomes = JSON.parse(text, untagNanos) as unknown;
  if (!Array.isArray(outcomes) || outcomes.length !== calls) throw new Error('the ledger answered with something else');
  return outcomes as CallOutcome[];
}

function callToWire(call: LedgerCall): unknown {
  return call.method === 'reserve' ? { ...call, command: { ...call.command, terms: termsToWire(call.command.terms) } } : call;
}

function tagNanos(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? { nanos: value.toString() } : value;
}

function untagNanos(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('nanos' in value)) return value;
  const { nanos } = value as { nanos: unknown };
  return typeof nanos === 'string' && /^-?\d{1,40}$/.test(nanos) ? BigInt(nanos) : value;
}
