/** What a commercial offer consists of. A preset is data: no code branches on a preset's name. Amounts are decimal strings of the unit. */
import { z } from 'zod';
import { type PriceTerms, parseAmount, ROUNDINGS } from '../events/contract/index.js';
import { ServedBySchema } from './served-by.js';

const amount = z
  .string()
  .refine((text) => parseAmount(text) !== null, 'must be a decimal string with at most nine decimals')
  .transform((text) => parseAmount(text) ?? 0n)
  .refine((nanos) => nanos >= 0n, 'must not be negative');
const positiveInteger = z.number().int().positive();
const slug = z.string().regex(/^[a-z][a-z0-9-]{0,30}$/);

export const PriceSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('per_run'),
    price_per_run: amount,
    included_tokens: z.number().int().nonnegative(),
    overage_per_thousand: amount,
    overage_unit: z.enum(['token', 'started_thousand']),
    rounding: z.enum(ROUNDINGS),
  }),
  z.strictObject({
    kind: z.literal('per_token'),
    input_per_million: amount,
    cached_input_per_million: amount,
    output_per_million: amount,
    rounding: z.enum(ROUNDINGS),
  }),
  z.strictObject({ kind: z.literal('per_started_thousand'), price_per_started_thousand: amount }),
]);

export const ModelSchema = z.strictObject({
  id: z.string().min(1).max(200),
  /** Unix seconds shown as `created`. */
  created: z.number().int().nonnegative(),
  owned_by: z.string(),
  provider: z.string(),
  description: z.string().default(''),
  family: z.string().optional(),
  tier: z.string().optional(),
  parameters: z.string().optional(),
  best_for: z.string().optional(),
  /** Tokens of prompt and completion together that the offer promises; the loaded engine may have less and then the lesser counts. */
  context_window: positiveInteger,
  /** The most one request may generate; the hold is never computed above it. */
  max_output_tokens: positiveInteger,
  /** node-llama-cpp model URI (`hf:user/repo:quant`) of the real weights; a request may also be served by the tiny engine. */
  weights: z.strictObject({ uri: z.string().min(1), quantization: z.string().min(1) }).optional(),
  /** Servers and local weights that serve the model, in the order in which they are tried; read where `FAREBOX_ENGINE` is `upstream`. */
  served_by: ServedBySchema.optional(),
  /** No price: the preset does not load. */
  price: PriceSchema,
});
export type PresetModel = z.infer<typeof ModelSchema>;

export const RATE_LIMIT_HEADER_FAMILIES = ['simple', 'requests_tokens', 'minute_day'] as const;

const LimitsSchema = z.strictObject({
  /** Per key, sliding window of a minute; short bursts up to `burst`. Headers: `simple`. */
  sliding_window: z.strictObject({ requests_per_minute: positiveInteger, burst: positiveInteger }).optional(),
  /** Per key. */
  concurrent_requests: positiveInteger.optional(),
  /** Per key, a minute. Headers: `requests_tokens`. */
  tokens_per_minute: positiveInteger.optional(),
  /** Token bucket per project. Headers: `minute_day`. */
  token_bucket: z.strictObject({ per_minute: positiveInteger, per_day: positiveInteger }).optional(),
  /** Which families of headers every response carries. */
  headers: z.array(z.enum(RATE_LIMIT_HEADER_FAMILIES)).min(1),
});

/** The documented status and code of each refusal that differs between the source documents. */
const ErrorsSchema = z.strictObject({
  /** `error`: `{error: {message, type, code}}`; `detail`: `{detail}`; `both`: the two in one body. */
  shape: z.enum(['error', 'detail', 'both']),
  insufficient_credit: z.strictObject({ status: z.union([z.literal(402), z.literal(403)]), type: z.string(), code: z.string() }),
  invalid_request: z.strictObject({ type: z.string(), code: z.string() }),
  authentication: z.strictObject({ type: z.string(), code: z.string() }),
  rate_limited: z.strictObject({ type: z.string(), code: z.string() }),
  unavailable: z.strictObject({ type: z.string(), code: z.string() }),
  /** Status of a request whose structure is valid and whose meaning is not. */
  semantic_status: z.union([z.literal(400), z.literal(422)]),
  /** `true`: a refusal that has a more exact name than its family shows it as its code. `false`: only the documented codes. */
  exact_codes: z.boolean().default(true),
  /** Status for a key that was revoked or has expired. */
  disabled_key_status: z.union([z.literal(401), z.literal(403)]).default(403),
});

export const PresetSchema = z
  .strictObject({
    name: slug,
    /** Frozen into every hold; raise it whenever a price changes. */
    price_version: z.string().min(1).max(80),
    brand: z.strictObject({
      display_name: z.string(),
      /** Key of the metadata object in responses (`farebox`), part of header names (`X-Farebox-Pool`). */
      slug,
      /** Whether responses and streams carry the metadata object. */
      response_object: z.boolean(),
      /**
       * Where a stream carries the metadata object: `events` of its own before and after the deltas, or `in_chunks`, inside the first and the
       * last delta, which also suits clients that read `choices[0]` of every event.
       */
      stream_metadata: z.enum(['events', 'in_chunks']).default('in_chunks'),
      provider: z.string(),
    }),
    api_keys: z.strictObject({
      live_prefix: z.string().min(1).max(20),
      test_prefix: z.string().min(1).max(20),
      active_max: positiveInteger,
      unused_expiry_days: positiveInteger,
    }),
    /** ISO code of the currency, or `credit`. */
    unit: z.string().min(1).max(20),
    starter_credit: z.strictObject({ project: amount, consumer: amount }),
    policies: z.strictObject({
      /** Whether what was generated before a client went away is charged. */
      cancelled_run: z.enum(['charge_generated', 'refund_all']),
      run_timeout_seconds: positiveInteger,
      /** Who may create projects: `open` to anybody (each gets the starter credit), or only the holder of the `admin` key. */
      sign_up: z.enum(['open', 'admin']).default('open'),
    }),
    limits: LimitsSchema,
    errors: ErrorsSchema,
    models: z.array(ModelSchema).min(1),
  })
  .refine((preset) => new Set(preset.models.map((model) => model.id)).size === preset.models.length, 'model ids must be unique');
export type Preset = z.infer<typeof PresetSchema>;

/** The terms a model is charged by, as the ledger freezes them. */
export function priceTermsOf(model: PresetModel): PriceTerms {
  const price = model.price;
  switch (price.kind) {
    case 'per_run':
      return {
        kind: 'per_run',
        pricePerRunNanos: price.price_per_run,
        includedTokens: price.included_tokens,
        overagePerThousandNanos: price.overage_per_thousand,
        overageUnit: price.overage_unit,
        rounding: price.rounding,
      };
    case 'per_token':
      return {
        kind: 'per_token',
        inputPerMillionNanos: price.input_per_million,
        cachedInputPerMillionNanos: price.cached_input_per_million,
        outputPerMillionNanos: price.output_per_million,
        rounding: price.rounding,
      };
    case 'per_started_thousand':
      return { kind: 'per_started_thousand', pricePerStartedThousandNanos: price.price_per_started_thousand };
  }
}
