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
/** Claims are kept for a day, see services/api/idempotency. */
const IDEMPOTENCY_WINDOW_SECONDS_MAX = 86_400;
/** A week of two keys at once is enough for any deployment to change over. */
export const KEY_ROTATION_GRACE_SECONDS_MAX = 604_800;
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
  /** Of audio, by the file as it was sent. */
  z.strictObject({ kind: z.literal('per_started_audio_bytes'), bytes_per_unit: positiveInteger, price_per_started_unit: amount }),
  /** Of audio, by the millisecond as it was decoded. */
  z.strictObject({ kind: z.literal('per_audio_minute'), price_per_minute: amount, rounding: z.enum(ROUNDINGS) }),
]);

/** Prices by what a recording measures; the others count tokens, which a recording has none of. */
const AUDIO_PRICES: ReadonlySet<string> = new Set(['per_started_audio_bytes', 'per_audio_minute']);

const WeightsSchema = z.strictObject({ uri: z.string().min(1), quantization: z.string().min(1) });

/** One way in which a model is offered, by what its weights were made into: `fp16`, `fp8`, `int4`. */
const VariantSchema = z.strictObject({
  quantization: z.string().regex(/^[a-z][a-z0-9_]{0,19}$/),
  weights: WeightsSchema.optional(),
  /** The model's own where absent; of the same kind as that. */
  price: PriceSchema.optional(),
});
export type PresetVariant = z.infer<typeof VariantSchema>;

/** A model is asked for answers, for vectors, or for what was said. */
export const MODEL_KINDS = ['chat', 'embedding', 'transcription'] as const;
export type ModelKind = (typeof MODEL_KINDS)[number];

/** Variants of one model; more than there are quantisations in use. */
const VARIANTS_MAX = 16;

export const ModelSchema = z
  .strictObject({
    id: z.string().min(1).max(200),
    kind: z.enum(MODEL_KINDS).default('chat'),
    /** Whether a chat model may be asked for embeddings too; an `embedding` model always may. */
    embeddings: z.boolean().default(false),
    /** Numbers in one vector, and whether a request may have fewer (`dimensions`), as models trained for being cut allow. */
    embedding_dimensions: z.strictObject({ native: positiveInteger, adjustable: z.boolean() }).optional(),
    /** Unix seconds shown as `created`. */
    created: z.number().int().nonnegative(),
    owned_by: z.string(),
    provider: z.string(),
    description: z.string().default(''),
    family: z.string().optional(),
    tier: z.string().optional(),
    parameters: z.string().optional(),
    best_for: z.string().optional(),
    /** The context as the document prints it, such as `128K`. */
    context: z.string().optional(),
    /** Further facts, shown as they are. */
    metadata: z.record(z.string().max(64), z.string().max(500)).optional(),
    /** Names of the preset's pools that have the model; all of them where absent. */
    pools: z.array(slug).min(1).optional(),
    /** When the model goes, and what to take instead. */
    deprecation: z.strictObject({ date: z.iso.date(), replacement: z.string().optional() }).optional(),
    /** Tokens of prompt and completion together that the offer promises; the loaded engine may have less and then the lesser counts. */
    context_window: positiveInteger,
    /** The most one request may generate; the hold is never computed above it. 0, and only there, where nothing is generated. */
    max_output_tokens: z.number().int().nonnegative().default(0),
    /** node-llama-cpp model URI (`hf:user/repo:quant`) of the real weights; a request may also be served by the tiny engine. */
    weights: WeightsSchema.optional(),
    /** What `quantization` may name; the cheapest is taken where a request names none. Absent: the model is offered in one way only. */
    variants: z.array(VariantSchema).min(1).max(VARIANTS_MAX).optional(),
    /** Servers and local weights that serve the model, in the order in which they are tried; read where `FAREBOX_ENGINE` is `upstream`. */
    served_by: ServedBySchema.optional(),
    /** No price: the preset does not load. */
    price: PriceSchema,
  })
  .superRefine((model, context) => {
    const fault = (message: string, path: string) => context.addIssue({ code: 'custom', message, path: [path] });
    if (model.max_output_tokens > 0 !== (model.kind === 'chat')) fault('a chat model, and no other, generates tokens', 'max_output_tokens');
    const isAudioPrice = AUDIO_PRICES.has(model.price.kind);
    if (isAudioPrice !== (model.kind === 'transcription')) fault('recordings, and nothing else, are priced by their audio', 'price');
    if (model.embeddings && model.kind !== 'chat') fault('is for chat models', 'embeddings');
    const names = (model.variants ?? []).map(({ quantization }) => quantization);
    if (new Set(names).size !== names.length) fault('quantizations must be unique', 'variants');
    const isOtherKind = (variant: PresetVariant) => variant.price !== undefined && variant.price.kind !== model.price.kind;
    if (model.variants?.some(isOtherKind)) fault("prices must be of the kind of the model's", 'variants');
  });
export type PresetModel = z.infer<typeof ModelSchema>;

export const RATE_LIMIT_HEADER_FAMILIES = ['simple', 'requests_tokens', 'minute_day'] as const;

const LIMITS = {
  /** Per key, sliding window of a minute; short bursts up to `burst`. Headers: `simple`. */
  sliding_window: z.strictObject({ requests_per_minute: positiveInteger, burst: positiveInteger }).optional(),
  /** Per key. */
  concurrent_requests: positiveInteger.optional(),
  /** Per key, a minute. Headers: `requests_tokens`. */
  tokens_per_minute: positiveInteger.optional(),
  /** Token bucket per project. Headers: `minute_day`. */
  token_bucket: z.strictObject({ per_minute: positiveInteger, per_day: positiveInteger }).optional(),
};

const LimitsSchema = z.strictObject({
  ...LIMITS,
  /** Which families of headers every response carries. */
  headers: z.array(z.enum(RATE_LIMIT_HEADER_FAMILIES)).min(1),
});

/** A plan's limits; what it leaves out is as for everybody. */
const PlanSchema = z.strictObject(LIMITS);
const PLANS_MAX = 20;

const POOLS_MAX = 20;
const PoolSchema = z.strictObject({
  id: slug,
  /** The other pools in the order in which `nearest` tries them. */
  nearest: z.array(slug).max(POOLS_MAX).default([]),
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
  /** A valid key whose role does not allow the operation: 403. */
  permission: z.strictObject({ type: z.string(), code: z.string() }).default({ type: 'permission_error', code: 'role_not_allowed' }),
  /** Public texts that a document prints, by the refusal's name; the others are the error table's. */
  messages: z.record(z.string(), z.string().min(1).max(500)).default({}),
  /** Status of a request whose structure is valid and whose meaning is not. */
  semantic_status: z.union([z.literal(400), z.literal(422)]),
  /** `true`: a refusal that has a more exact name than its family shows it as its code. `false`: only the documented codes. */
  exact_codes: z.boolean().default(true),
  /** Status for a key that was revoked or has expired. */
  disabled_key_status: z.union([z.literal(401), z.literal(403)]).default(403),
});

/** Currencies without cents, or with thousandths: their minor units are none of hundredths, which is how prices are counted here. */
const OTHER_MINOR_UNITS = new Set(
  'BIF BHD CLP DJF GNF IQD ISK JOD JPY KMF KRW KWD LYD MGA OMR PYG RWF TND UGX UYI VND VUV XAF XOF XPF'.split(' '),
);
const NANOS_PER_MINOR_UNIT = 10_000_000n;
const CREDIT_PACKS_MAX = 20;

/** What payers can buy: so much credit for so much money. */
const CreditPackSchema = z.strictObject({
  id: z.string().regex(/^[a-z][a-z0-9_]{0,63}$/),
  name: z.string().min(1).max(100),
  /** In the preset's unit. */
  credits: amount.refine((nanos) => nanos > 0n, 'must be positive'),
  price: z.strictObject({
    amount: amount.refine((nanos) => nanos > 0n && nanos % NANOS_PER_MINOR_UNIT === 0n, 'must be positive, with at most two decimals'),
    currency: z
      .string()
      .regex(/^[A-Z]{3}$/)
      .refine((code) => !OTHER_MINOR_UNITS.has(code), 'must be a currency that is divided into hundredths'),
  }),
});
export type CreditPack = z.infer<typeof CreditPackSchema>;

/** The price in hundredths, as payment providers count. */
export function packPriceMinor(pack: CreditPack): bigint {
  return pack.price.amount / NANOS_PER_MINOR_UNIT;
}

export const PresetSchema = z
  .strictObject({
    name: slug,
    /** Frozen into every hold; raise it whenever a price changes. */
    price_version: z.string().min(1).max(80),
    brand: z.strictObject({
      display_name: z.string(),
      /** Key of the metadata object in responses (`farebox`), part of header names (`X-Farebox-Pool`). */
      slug,
      /** As header names write it (`Farebox` in `X-Farebox-Pool`); made from the slug where absent. */
      header: z
        .string()
        .regex(/^[A-Z][A-Za-z0-9-]{0,30}$/)
        .optional(),
      /** Where the document says that the API is; shown beside this server in the API's description. */
      documented_base_url: z.url({ protocol: /^https$/ }).optional(),
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
      /** Whether requests that a proxy got over plain HTTP are refused; `FAREBOX_PLAIN_HTTP` overrules it. */
      https_only: z.boolean().default(false),
      /** How long an idempotency key is remembered. */
      idempotency_window_seconds: positiveInteger.max(IDEMPOTENCY_WINDOW_SECONDS_MAX).default(IDEMPOTENCY_WINDOW_SECONDS_MAX),
      /** How long a key still works after it was rotated, where the request does not say. */
      key_rotation_grace_seconds: z.number().int().nonnegative().max(KEY_ROTATION_GRACE_SECONDS_MAX).default(0),
    }),
    /** Whether the routes under `/v1` answer without it too. */
    unprefixed_routes: z.boolean().default(false),
    /** Pools that `X-<Brand>-Pool` may name. Workers say which they are in. */
    pools: z.array(PoolSchema).max(POOLS_MAX).default([]),
    limits: LimitsSchema,
    /** By name. Projects without a plan have `limits`. */
    plans: z
      .record(slug, PlanSchema)
      .refine((plans) => Object.keys(plans).length <= PLANS_MAX, `at most ${PLANS_MAX} plans`)
      .default({}),
    errors: ErrorsSchema,
    /** What can be bought; nothing where absent. */
    credit_packs: z
      .array(CreditPackSchema)
      .max(CREDIT_PACKS_MAX)
      .refine((packs) => new Set(packs.map((pack) => pack.id)).size === packs.length, 'pack ids must be unique')
      .default([]),
    models: z.array(ModelSchema).min(1),
  })
  .refine((preset) => new Set(preset.models.map((model) => model.id)).size === preset.models.length, 'model ids must be unique')
  .superRefine(({ pools, models }, context) => {
    const known = new Set(pools.map(({ id }) => id));
    if (known.size !== pools.length) context.addIssue({ code: 'custom', message: 'pool ids must be unique', path: ['pools'] });
    const named = [...pools.flatMap(({ nearest }) => nearest), ...models.flatMap((model) => model.pools ?? [])];
    const unknown = named.find((name) => !known.has(name));
    if (unknown !== undefined) context.addIssue({ code: 'custom', message: `there is no pool ${unknown}`, path: ['pools'] });
  });
export type Preset = z.infer<typeof PresetSchema>;

/** Asked for several times a request, of the one brand that a process has. */
const headerBrands = new WeakMap<Preset['brand'], string>();

/** What header names carry: `Farebox` in `X-Farebox-Pool`. */
export function headerBrand(brand: Preset['brand']): string {
  let text = headerBrands.get(brand);
  if (text === undefined) {
    text = brand.header ?? brand.slug.replace(/(^|-)([a-z])/g, (_match, hyphen: string, letter: string) => hyphen + letter.toUpperCase());
    headerBrands.set(brand, text);
  }
  return text;
}

/** Whether vectors may be asked of it. */
export function makesEmbeddings(model: PresetModel): boolean {
  return model.kind === 'embedding' || model.embeddings;
}

/** The terms a model is charged by, as the ledger freezes them; those of one of its variants where that has a price of its own. */
export function priceTermsOf(model: PresetModel, variant?: PresetVariant): PriceTerms {
  return termsOfPrice(variant?.price ?? model.price);
}

function termsOfPrice(price: z.infer<typeof PriceSchema>): PriceTerms {
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
    case 'per_started_audio_bytes':
      return {
        kind: 'per_started_audio_bytes',
        bytesPerUnit: price.bytes_per_unit,
        pricePerStartedUnitNanos: price.price_per_started_unit,
      };
    case 'per_audio_minute':
      return { kind: 'per_audio_minute', pricePerMinuteNanos: price.price_per_minute, rounding: price.rounding };
  }
}
