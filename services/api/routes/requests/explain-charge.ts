/**
 * Derives a price line by line from frozen terms and measured tokens, and says where it was rounded. Independent of the ledger's own arithmetic
 * on purpose: the explanation is a second calculation that has to arrive at what was booked.
 */
import {
  type AudioUsage,
  type CancelPolicy,
  divideRounding,
  type Nanos,
  type PriceTerms,
  type Rounding,
  type TokenUsage,
} from '../../../../events/contract/index.js';

const NANO_DIGITS = 9n;
/** A millionth of a nano still shows, which is as fine as a rate for a million tokens gets. */
const EXACT_DIGITS = 15n;

/** `quantity` × `rateNanos` / `per` nanos, exactly. */
export type ChargeLine = {
  readonly item:
    | 'run'
    | 'overage_tokens'
    | 'input_tokens'
    | 'cached_input_tokens'
    | 'output_tokens'
    | 'started_thousand_tokens'
    | 'started_audio_units'
    | 'audio_milliseconds'
    | 'free';
  readonly quantity: number;
  readonly rateNanos: Nanos;
  /** How many of the quantity the rate buys: 1, 1,000 or 1,000,000, or 60,000 milliseconds. */
  readonly per: bigint;
};

/** What bounds a run before it begins. */
export type RunBound = {
  readonly promptTokensMax: number;
  readonly outputTokensBudget: number;
  readonly audioHeld: AudioUsage | null;
};

/** The dearest use that a hold covers: every prompt token fresh, or cached where that costs more, the output budget used up, the audio as measured. */
export function dearestUse(terms: PriceTerms, { promptTokensMax, outputTokensBudget, audioHeld }: RunBound): TokenUsage {
  const isCachedDearer = terms.kind === 'per_token' && terms.cachedInputPerMillionNanos > terms.inputPerMillionNanos;
  return {
    promptTokens: promptTokensMax,
    cachedTokens: isCachedDearer ? promptTokensMax : 0,
    completionTokens: outputTokensBudget,
    ...(audioHeld === null ? {} : { audio: audioHeld }),
  };
}

export type PriceExplanation = {
  readonly lines: readonly ChargeLine[];
  /** The sum of the lines before rounding, as a decimal string of the unit. */
  readonly exact: string;
  /** `none` where no line can leave a fraction of a nano. */
  readonly rounding: Rounding | 'none';
  readonly priceNanos: Nanos;
};

/** What a usage costs under its terms. Total tokens are prompt plus completion; cached tokens are part of the prompt. */
export function explainPrice(terms: PriceTerms, usage: TokenUsage): PriceExplanation {
  const totalTokens = usage.promptTokens + usage.completionTokens;
  switch (terms.kind) {
    case 'per_run': {
      const run: ChargeLine = { item: 'run', quantity: 1, rateNanos: terms.pricePerRunNanos, per: 1n };
      const overTokens = Math.max(0, totalTokens - terms.includedTokens);
      const isByThousand = terms.overageUnit === 'started_thousand';
      const overage: ChargeLine = {
        item: isByThousand ? 'started_thousand_tokens' : 'overage_tokens',
        quantity: isByThousand ? Math.ceil(overTokens / 1_000) : overTokens,
        rateNanos: terms.overagePerThousandNanos,
        per: isByThousand ? 1n : 1_000n,
      };
      return total([run, overage], terms.rounding);
    }
    case 'per_token':
      return total(
        [
          {
            item: 'input_tokens',
            quantity: usage.promptTokens - usage.cachedTokens,
            rateNanos: terms.inputPerMillionNanos,
            per: 1_000_000n,
          },
          { item: 'cached_input_tokens', quantity: usage.cachedTokens, rateNanos: terms.cachedInputPerMillionNanos, per: 1_000_000n },
          { item: 'output_tokens', quantity: usage.completionTokens, rateNanos: terms.outputPerMillionNanos, per: 1_000_000n },
        ],
        terms.rounding,
      );
    case 'per_started_thousand':
      return total(
        [
          {
            item: 'started_thousand_tokens',
            quantity: Math.ceil(totalTokens / 1_000),
            rateNanos: terms.pricePerStartedThousandNanos,
            per: 1n,
          },
        ],
        'none',
      );
    case 'per_started_audio_bytes': {
      const quantity = Math.ceil((usage.audio?.bytes ?? 0) / terms.bytesPerUnit);
      return total([{ item: 'started_audio_units', quantity, rateNanos: terms.pricePerStartedUnitNanos, per: 1n }], 'none');
    }
    case 'per_audio_minute': {
      const quantity = usage.audio?.milliseconds ?? 0;
      return total([{ item: 'audio_milliseconds', quantity, rateNanos: terms.pricePerMinuteNanos, per: 60_000n }], terms.rounding);
    }
    case 'free':
      return total([{ item: 'free', quantity: 1, rateNanos: 0n, per: 1n }], 'none');
  }
}

/** The amount of a line before rounding, as a decimal string of the unit. */
export function lineAmount(line: ChargeLine): string {
  return exactAmount(BigInt(line.quantity) * line.rateNanos, line.per);
}

export type BookedRun = {
  readonly status: 'reserved' | 'completed' | 'cancelled' | 'failed' | 'expired';
  readonly cancelPolicy: CancelPolicy;
  readonly usage: TokenUsage | null;
  readonly heldNanos: Nanos;
  readonly chargedNanos: Nanos | null;
  readonly refundedNanos: Nanos | null;
};

export const WAIVERS = [
  'run_failed',
  'hold_expired',
  'cancelled_run_is_refunded',
  'cancelled_before_anything_came',
  'capped_at_hold',
] as const;
export type Waiver = (typeof WAIVERS)[number];

export type ChargeExplanation = {
  /** Why less than the price was charged, or `null`. */
  readonly waiver: Waiver | null;
  /** Whether the booked charge is what the terms and the ending give, and charge and refund make up the hold. `null` while it runs. */
  readonly addsUp: boolean | null;
};

/** Holds the derived price against what was booked. A charge never exceeds its hold; failures and expiries are never charged. */
export function explainCharge(priceNanos: Nanos, run: BookedRun): ChargeExplanation {
  if (run.status === 'reserved' || run.chargedNanos === null || run.refundedNanos === null) return { waiver: null, addsUp: null };
  const balances = run.chargedNanos + run.refundedNanos === run.heldNanos;
  const isFree = run.chargedNanos === 0n;
  if (run.status === 'failed') return { waiver: 'run_failed', addsUp: balances && isFree };
  if (run.status === 'expired') return { waiver: 'hold_expired', addsUp: balances && isFree };
  if (run.status === 'cancelled' && run.cancelPolicy === 'refund_all') {
    return { waiver: 'cancelled_run_is_refunded', addsUp: balances && isFree };
  }
  if (run.status === 'cancelled' && run.usage?.completionTokens === 0) {
    return { waiver: 'cancelled_before_anything_came', addsUp: balances && isFree };
  }
  const isCapped = priceNanos > run.heldNanos;
  const dueNanos = isCapped ? run.heldNanos : priceNanos;
  return { waiver: isCapped ? 'capped_at_hold' : null, addsUp: balances && run.chargedNanos === dueNanos };
}

/** Lines of a price share a divisor, except whole ones (`per` 1), which no rounding touches. */
function total(lines: readonly ChargeLine[], rounding: Rounding | 'none'): PriceExplanation {
  let wholeNanos = 0n;
  let numerator = 0n;
  let denominator = 1n;
  for (const line of lines) {
    const amount = BigInt(line.quantity) * line.rateNanos;
    if (line.per === 1n) wholeNanos += amount;
    else {
      numerator += amount;
      denominator = line.per;
    }
  }
  const fractionNanos = rounding === 'none' ? numerator / denominator : divideRounding(numerator, denominator, rounding);
  return {
    lines,
    exact: exactAmount(wholeNanos * denominator + numerator, denominator),
    rounding: denominator === 1n ? 'none' : rounding,
    priceNanos: wholeNanos + fractionNanos,
  };
}

/** `numerator / denominator` nanos in units. Thirds of a nano, which minutes of audio leave, end in `…`. */
function exactAmount(numerator: bigint, denominator: bigint): string {
  const shifted = numerator * 10n ** (EXACT_DIGITS - NANO_DIGITS);
  const text = (shifted / denominator).toString().padStart(Number(EXACT_DIGITS) + 1, '0');
  const isCutOff = shifted % denominator !== 0n;
  const fraction = text.slice(-Number(EXACT_DIGITS));
  const whole = text.slice(0, -Number(EXACT_DIGITS));
  if (isCutOff) return `${whole}.${fraction}…`;
  const shortest = fraction.replace(/0+$/, '');
  return shortest === '' ? whole : `${whole}.${shortest}`;
}
