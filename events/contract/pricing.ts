/** The terms a run is charged by. They are frozen into `CreditReserved`, so that settlement and replay never consult today's prices. */
import { z } from 'zod';
import { type Nanos, ROUNDINGS, type Rounding } from './money.js';

/** A flat price for a run with `includedTokens` (prompt and completion together), and a rate for what exceeds them. */
export type PerRunTerms = {
  readonly kind: 'per_run';
  readonly pricePerRunNanos: Nanos;
  readonly includedTokens: number;
  readonly overagePerThousandNanos: Nanos;
  /** Overage counts single tokens, or whole thousands as soon as one is started. */
  readonly overageUnit: 'token' | 'started_thousand';
  readonly rounding: Rounding;
};

/** Rates per million tokens. Cached input is the part of the prompt that the engine did not have to evaluate again. */
export type PerTokenTerms = {
  readonly kind: 'per_token';
  readonly inputPerMillionNanos: Nanos;
  readonly cachedInputPerMillionNanos: Nanos;
  readonly outputPerMillionNanos: Nanos;
  readonly rounding: Rounding;
};

/** A price for every started thousand tokens, prompt and completion together. */
export type PerStartedThousandTerms = {
  readonly kind: 'per_started_thousand';
  readonly pricePerStartedThousandNanos: Nanos;
};

/** A price for every started unit of `bytesPerUnit` bytes of an audio file as it was sent. */
export type PerAudioBytesTerms = {
  readonly kind: 'per_started_audio_bytes';
  readonly bytesPerUnit: number;
  readonly pricePerStartedUnitNanos: Nanos;
};

/** A rate per minute of audio, by the millisecond as measured from the decoded file. */
export type PerAudioMinuteTerms = {
  readonly kind: 'per_audio_minute';
  readonly pricePerMinuteNanos: Nanos;
  readonly rounding: Rounding;
};

/** Costs nothing, for a stated reason (such as the repetition of a run whose answer was lost after it had been charged). */
export type FreeTerms = { readonly kind: 'free'; readonly reason: string };

export type PriceTerms = PerRunTerms | PerTokenTerms | PerStartedThousandTerms | PerAudioBytesTerms | PerAudioMinuteTerms | FreeTerms;

/** An audio file as it was measured: bytes as sent, milliseconds as decoded. Never what a client said of it. */
export type AudioUsage = { readonly bytes: number; readonly milliseconds: number };

/** Token counts as the engine measured them. `cachedTokens` is part of `promptTokens`. A transcription has audio and no tokens. */
export type TokenUsage = {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  readonly audio?: AudioUsage | undefined;
};

/**
 * Said of usage that no engine counted: an upstream gave none, and the worker counted by a stated rule. Absent where the engine did, so that
 * what was measured and what was not are told apart in the books.
 */
export const COUNTED_LOCALLY = 'counted_locally';
export type UsageSource = typeof COUNTED_LOCALLY;

export const NO_USAGE: TokenUsage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };

const tokenCount = z.number().int().nonnegative();
const nanosText = z.string().regex(/^-?\d{1,30}$/);

export const TokenUsageSchema = z.strictObject({
  promptTokens: tokenCount,
  cachedTokens: tokenCount,
  completionTokens: tokenCount,
  audio: z.strictObject({ bytes: tokenCount, milliseconds: tokenCount }).optional(),
});

/** Wire shape of terms: nanos are decimal strings. */
export const PriceTermsWireSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('per_run'),
    pricePerRunNanos: nanosText,
    includedTokens: tokenCount,
    overagePerThousandNanos: nanosText,
    overageUnit: z.enum(['token', 'started_thousand']),
    rounding: z.enum(ROUNDINGS),
  }),
  z.strictObject({
    kind: z.literal('per_token'),
    inputPerMillionNanos: nanosText,
    cachedInputPerMillionNanos: nanosText,
    outputPerMillionNanos: nanosText,
    rounding: z.enum(ROUNDINGS),
  }),
  z.strictObject({ kind: z.literal('per_started_thousand'), pricePerStartedThousandNanos: nanosText }),
  z.strictObject({
    kind: z.literal('per_started_audio_bytes'),
    bytesPerUnit: z.number().int().positive(),
    pricePerStartedUnitNanos: nanosText,
  }),
  z.strictObject({ kind: z.literal('per_audio_minute'), pricePerMinuteNanos: nanosText, rounding: z.enum(ROUNDINGS) }),
  z.strictObject({ kind: z.literal('free'), reason: z.string() }),
]);
export type PriceTermsWire = z.infer<typeof PriceTermsWireSchema>;

/** Keys in the order of canonical JSON, as in all that an event says. */
export function termsToWire(terms: PriceTerms): PriceTermsWire {
  switch (terms.kind) {
    case 'per_run':
      return {
        includedTokens: terms.includedTokens,
        kind: terms.kind,
        overagePerThousandNanos: terms.overagePerThousandNanos.toString(),
        overageUnit: terms.overageUnit,
        pricePerRunNanos: terms.pricePerRunNanos.toString(),
        rounding: terms.rounding,
      };
    case 'per_token':
      return {
        cachedInputPerMillionNanos: terms.cachedInputPerMillionNanos.toString(),
        inputPerMillionNanos: terms.inputPerMillionNanos.toString(),
        kind: terms.kind,
        outputPerMillionNanos: terms.outputPerMillionNanos.toString(),
        rounding: terms.rounding,
      };
    case 'per_started_thousand':
      return { kind: terms.kind, pricePerStartedThousandNanos: terms.pricePerStartedThousandNanos.toString() };
    case 'per_started_audio_bytes':
      return {
        bytesPerUnit: terms.bytesPerUnit,
        kind: terms.kind,
        pricePerStartedUnitNanos: terms.pricePerStartedUnitNanos.toString(),
      };
    case 'per_audio_minute':
      return { kind: terms.kind, pricePerMinuteNanos: terms.pricePerMinuteNanos.toString(), rounding: terms.rounding };
    case 'free':
      return { kind: terms.kind, reason: terms.reason };
  }
}

export function termsFromWire(terms: PriceTermsWire): PriceTerms {
  switch (terms.kind) {
    case 'per_run':
      return {
        ...terms,
        pricePerRunNanos: BigInt(terms.pricePerRunNanos),
        overagePerThousandNanos: BigInt(terms.overagePerThousandNanos),
      };
    case 'per_token':
      return {
        ...terms,
        inputPerMillionNanos: BigInt(terms.inputPerMillionNanos),
        cachedInputPerMillionNanos: BigInt(terms.cachedInputPerMillionNanos),
        outputPerMillionNanos: BigInt(terms.outputPerMillionNanos),
      };
    case 'per_started_thousand':
      return { ...terms, pricePerStartedThousandNanos: BigInt(terms.pricePerStartedThousandNanos) };
    case 'per_started_audio_bytes':
      return { ...terms, pricePerStartedUnitNanos: BigInt(terms.pricePerStartedUnitNanos) };
    case 'per_audio_minute':
      return { ...terms, pricePerMinuteNanos: BigInt(terms.pricePerMinuteNanos) };
    case 'free':
      return terms;
  }
}
