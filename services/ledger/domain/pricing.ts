/** What a run costs under frozen terms, the most it can cost, and how many tokens a balance affords. Integer arithmetic; one named rounding. */
import { type AudioUsage, divideRounding, type Nanos, type PriceTerms, type TokenUsage } from '../../../events/contract/index.js';

const TOKENS_PER_MILLION = 1_000_000n;
const TOKENS_PER_THOUSAND = 1_000n;
const MILLISECONDS_PER_MINUTE = 60_000n;

/** The price of a usage. Total tokens are prompt plus completion; cached tokens are part of the prompt. */
export function chargeFor(terms: PriceTerms, usage: TokenUsage): Nanos {
  const totalTokens = BigInt(usage.promptTokens + usage.completionTokens);
  switch (terms.kind) {
    case 'per_run': {
      const overTokens = totalTokens - BigInt(terms.includedTokens);
      if (overTokens <= 0n) return terms.pricePerRunNanos;
      const overageNanos =
        terms.overageUnit === 'token'
          ? divideRounding(overTokens * terms.overagePerThousandNanos, TOKENS_PER_THOUSAND, terms.rounding)
          : divideRounding(overTokens, TOKENS_PER_THOUSAND, 'up') * terms.overagePerThousandNanos;
      return terms.pricePerRunNanos + overageNanos;
    }
    case 'per_token': {
      const freshTokens = BigInt(usage.promptTokens - usage.cachedTokens);
      const nanosTimesMillion =
        freshTokens * terms.inputPerMillionNanos +
        BigInt(usage.cachedTokens) * terms.cachedInputPerMillionNanos +
        BigInt(usage.completionTokens) * terms.outputPerMillionNanos;
      return divideRounding(nanosTimesMillion, TOKENS_PER_MILLION, terms.rounding);
    }
    case 'per_started_thousand':
      return divideRounding(totalTokens, TOKENS_PER_THOUSAND, 'up') * terms.pricePerStartedThousandNanos;
    case 'per_started_audio_bytes':
      return divideRounding(BigInt(usage.audio?.bytes ?? 0), BigInt(terms.bytesPerUnit), 'up') * terms.pricePerStartedUnitNanos;
    case 'per_audio_minute':
      return divideRounding(BigInt(usage.audio?.milliseconds ?? 0) * terms.pricePerMinuteNanos, MILLISECONDS_PER_MINUTE, terms.rounding);
    case 'free':
      return 0n;
  }
}

/** What is known of a run before it begins. Audio has been measured already, so terms that price it give the charge itself. */
export type RunInputBound = { readonly promptTokensMax: number; readonly audio?: AudioUsage | undefined };

/** The most that a run within these bounds can cost: every prompt token fresh (or cached, should that be dearer) and the budget used up. */
export function holdFor(terms: PriceTerms, { promptTokensMax, audio }: RunInputBound, outputTokens: number): Nanos {
  const cachedIsDearer = terms.kind === 'per_token' && terms.cachedInputPerMillionNanos > terms.inputPerMillionNanos;
  return chargeFor(terms, {
    promptTokens: promptTokensMax,
    cachedTokens: cachedIsDearer ? promptTokensMax : 0,
    completionTokens: outputTokens,
    audio,
  });
}

/** The largest output budget, at most `outputTokensMax`, whose hold fits `availableNanos`; 0 when not even one token does. */
export function affordableOutputTokens(terms: PriceTerms, input: RunInputBound, outputTokensMax: number, availableNanos: Nanos): number {
  if (holdFor(terms, input, outputTokensMax) <= availableNanos) return outputTokensMax;
  // The hold grows with the budget, so the boundary can be bisected whatever the terms.
  let affordable = 0;
  let refused = outputTokensMax;
  while (refused - affordable > 1) {
    const middle = Math.floor((affordable + refused) / 2);
    if (holdFor(terms, input, middle) <= availableNanos) affordable = middle;
    else refused = middle;
  }
  return affordable;
}
