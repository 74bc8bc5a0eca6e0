/** What a run costs, worked out without the ledger's code: plain quotients of integers. */
import type { PriceTerms, TokenUsage } from '../../events/contract/pricing.js';

/** The whole multiple of `denominator` nearest above, below, or nearest with ties to even. */
function rounded(numerator: bigint, denominator: bigint, rounding: 'up' | 'down' | 'half_even'): bigint {
  if (rounding === 'down') return numerator / denominator;
  if (rounding === 'up') return (numerator + denominator - 1n) / denominator;
  const nearest = (2n * numerator + denominator) / (2n * denominator);
  const isTie = 2n * numerator + denominator === 2n * denominator * nearest;
  return isTie && nearest % 2n === 1n ? nearest - 1n : nearest;
}

export function naiveCharge(terms: PriceTerms, usage: TokenUsage): bigint {
  const prompt = BigInt(usage.promptTokens);
  const cached = BigInt(usage.cachedTokens);
  const completion = BigInt(usage.completionTokens);
  if (terms.kind === 'free') return 0n;
  if (terms.kind === 'per_started_thousand') return ((prompt + completion + 999n) / 1_000n) * terms.pricePerStartedThousandNanos;
  if (terms.kind === 'per_token') {
    const exact =
      prompt * terms.inputPerMillionNanos -
      cached * (terms.inputPerMillionNanos - terms.cachedInputPerMillionNanos) +
      completion * terms.outputPerMillionNanos;
    return rounded(exact, 1_000_000n, terms.rounding);
  }
  if (terms.kind === 'per_started_audio_bytes') {
    const unit = BigInt(terms.bytesPerUnit);
    return ((BigInt(usage.audio?.bytes ?? 0) + unit - 1n) / unit) * terms.pricePerStartedUnitNanos;
  }
  if (terms.kind === 'per_audio_minute') {
    return rounded(BigInt(usage.audio?.milliseconds ?? 0) * terms.pricePerMinuteNanos, 60_000n, terms.rounding);
  }
  const over = prompt + completion - BigInt(terms.includedTokens);
  if (over <= 0n) return terms.pricePerRunNanos;
  if (terms.overageUnit === 'started_thousand') return terms.pricePerRunNanos + ((over + 999n) / 1_000n) * terms.overagePerThousandNanos;
  return terms.pricePerRunNanos + rounded(over * terms.overagePerThousandNanos, 1_000n, terms.rounding);
}

/** The dearest that a run within these bounds can be: no token cached, or all of them. */
export function naiveHold(terms: PriceTerms, promptTokensMax: number, outputTokens: number): bigint {
  const fresh = naiveCharge(terms, { promptTokens: promptTokensMax, cachedTokens: 0, completionTokens: outputTokens });
  const cached = naiveCharge(terms, { promptTokens: promptTokensMax, cachedTokens: promptTokensMax, completionTokens: outputTokens });
  if (cached > fresh) return cached;
  return fresh;
}
