/** Prices: the documented figures to the nano, and the properties that every price must have. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  type AudioUsage,
  divideRounding,
  formatAmount,
  type PriceTerms,
  parseAmount,
  type TokenUsage,
} from '../../../events/contract/index.js';
import { affordableOutputTokens, chargeFor, holdFor } from './pricing.js';

const usage = (promptTokens: number, completionTokens: number, cachedTokens = 0): TokenUsage => ({
  promptTokens,
  completionTokens,
  cachedTokens,
});

const HUNT_TINY: PriceTerms = {
  kind: 'per_run',
  pricePerRunNanos: 5_000_000n,
  includedTokens: 5_000,
  overagePerThousandNanos: 2_000_000n,
  overageUnit: 'started_thousand',
  rounding: 'up',
};
const HIVEOPS_MISTRAL: PriceTerms = {
  kind: 'per_token',
  inputPerMillionNanos: 1_000_000n,
  cachedInputPerMillionNanos: 0n,
  outputPerMillionNanos: 2_000_000n,
  rounding: 'up',
};
const HURU_CHAT: PriceTerms = { kind: 'per_started_thousand', pricePerStartedThousandNanos: 1_000_000_000n };
const HURU_AUDIO: PriceTerms = { kind: 'per_started_audio_bytes', bytesPerUnit: 500_000, pricePerStartedUnitNanos: 1_000_000_000n };
const AUDIO_MINUTE: PriceTerms = { kind: 'per_audio_minute', pricePerMinuteNanos: 6_000_000n, rounding: 'up' };

const heard = (bytes: number, milliseconds: number): TokenUsage => ({ ...usage(0, 0), audio: { bytes, milliseconds } });

describe('charges', () => {
  test.each([
    ['a run within its included tokens', HUNT_TINY, usage(2_000, 3_000), '0.005'],
    ['one token over starts a thousand', HUNT_TINY, usage(2_000, 3_001), '0.007'],
    ['a thousand over is one thousand', HUNT_TINY, usage(3_000, 3_000), '0.007'],
    ['overage by the token', { ...HUNT_TINY, overageUnit: 'token' } as PriceTerms, usage(2_000, 3_001), '0.005002'],
    ['one nano a token', HIVEOPS_MISTRAL, usage(1, 0), '0.000000001'],
    ['input and output have rates of their own', HIVEOPS_MISTRAL, usage(1_000_000, 1_000_000), '0.003'],
    ['cached input has a rate of its own', HIVEOPS_MISTRAL, usage(1_000_000, 0, 999_999), '0.000000001'],
    ['a credit for the first started thousand', HURU_CHAT, usage(10, 20), '1'],
    ['two credits from token 1,001', HURU_CHAT, usage(1_000, 1), '2'],
    ['no tokens, no credits', HURU_CHAT, usage(0, 0), '0'],
    ['a credit for the first started 500 KB', HURU_AUDIO, heard(1, 60_000), '1'],
    ['500 KB are one unit', HURU_AUDIO, heard(500_000, 60_000), '1'],
    ['one byte over starts another', HURU_AUDIO, heard(500_001, 1), '2'],
    ['no audio, no credits', HURU_AUDIO, usage(5, 5), '0'],
    ['a minute of audio', AUDIO_MINUTE, heard(9, 60_000), '0.006'],
    ['audio by the millisecond', AUDIO_MINUTE, heard(9, 90_001), '0.0090001'],
    ['a millisecond that is no whole nano is rounded as named', { ...AUDIO_MINUTE, pricePerMinuteNanos: 1n }, heard(9, 1), '0.000000001'],
    ['a free repetition', { kind: 'free', reason: 'repeat' } as PriceTerms, usage(9_999, 9_999), '0'],
  ] as const)('%s', (_name, terms, used, expected) => {
    expect(formatAmount(chargeFor(terms, used))).toBe(expected);
  });

  test('a price below a nano is rounded once, as named', () => {
    const terms = (rounding: 'up' | 'down' | 'half_even'): PriceTerms =>
      ({ ...HIVEOPS_MISTRAL, inputPerMillionNanos: 500_000n, rounding }) as PriceTerms;
    expect(chargeFor(terms('up'), usage(1, 0))).toBe(1n);
    expect(chargeFor(terms('down'), usage(1, 0))).toBe(0n);
    expect(chargeFor(terms('half_even'), usage(1, 0))).toBe(0n);
    expect(chargeFor(terms('half_even'), usage(3, 0))).toBe(2n);
  });
});

const nanos = fc.bigInt({ min: 0n, max: 10n ** 12n });
const rounding = fc.constantFrom('up' as const, 'down' as const, 'half_even' as const);
const anyTerms: fc.Arbitrary<PriceTerms> = fc.oneof(
  fc.record({
    kind: fc.constant('per_run' as const),
    pricePerRunNanos: nanos,
    includedTokens: fc.nat(20_000),
    overagePerThousandNanos: nanos,
    overageUnit: fc.constantFrom('token' as const, 'started_thousand' as const),
    rounding,
  }),
  fc.record({
    kind: fc.constant('per_token' as const),
    inputPerMillionNanos: nanos,
    cachedInputPerMillionNanos: nanos,
    outputPerMillionNanos: nanos,
    rounding,
  }),
  fc.record({ kind: fc.constant('per_started_thousand' as const), pricePerStartedThousandNanos: nanos }),
  fc.record({
    kind: fc.constant('per_started_audio_bytes' as const),
    bytesPerUnit: fc.integer({ min: 1, max: 1_000_000 }),
    pricePerStartedUnitNanos: nanos,
  }),
  fc.record({ kind: fc.constant('per_audio_minute' as const), pricePerMinuteNanos: nanos, rounding }),
);
const anyAudio: fc.Arbitrary<AudioUsage> = fc.record({ bytes: fc.nat(), milliseconds: fc.nat() });

describe('properties', () => {
  test('no usage within the bounds costs more than the hold', () => {
    fc.assert(
      fc.property(anyTerms, fc.nat(10_000), fc.nat(10_000), fc.nat(), fc.nat(), fc.nat(), (terms, promptMax, outputMax, a, b, c) => {
        const promptTokens = a % (promptMax + 1);
        const used = usage(promptTokens, b % (outputMax + 1), c % (promptTokens + 1));
        expect(chargeFor(terms, used) <= holdFor(terms, { promptTokensMax: promptMax }, outputMax)).toBe(true);
      }),
    );
  });

  test('of audio, which is measured before, the hold is the charge', () => {
    fc.assert(
      fc.property(anyTerms, anyAudio, (terms, audio) => {
        const isOfAudio = terms.kind === 'per_started_audio_bytes' || terms.kind === 'per_audio_minute';
        if (isOfAudio) expect(holdFor(terms, { promptTokensMax: 0, audio }, 0)).toBe(chargeFor(terms, { ...usage(0, 0), audio }));
      }),
    );
  });

  test('the affordable budget is the largest whose hold fits', () => {
    fc.assert(
      fc.property(anyTerms, fc.nat(5_000), fc.integer({ min: 1, max: 5_000 }), nanos, (terms, promptMax, outputMax, available) => {
        const input = { promptTokensMax: promptMax };
        const budget = affordableOutputTokens(terms, input, outputMax, available);
        if (budget > 0) expect(holdFor(terms, input, budget) <= available).toBe(true);
        if (budget < outputMax) expect(holdFor(terms, input, budget + 1) > available).toBe(true);
      }),
    );
  });

  test('amounts survive the way through text', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }), (amount) => {
        expect(parseAmount(formatAmount(amount))).toBe(amount);
      }),
    );
    for (const bad of ['', '1.', '.5', '1e3', '0x1', '1.0000000001', ' 1', '+1', '1,5', 'NaN']) expect(parseAmount(bad)).toBeNull();
  });

  test('rounding differs by at most one and never by more', () => {
    fc.assert(
      fc.property(nanos, fc.bigInt({ min: 1n, max: 10n ** 9n }), (numerator, denominator) => {
        const down = divideRounding(numerator, denominator, 'down');
        const up = divideRounding(numerator, denominator, 'up');
        const even = divideRounding(numerator, denominator, 'half_even');
        expect(up - down).toBe(numerator % denominator === 0n ? 0n : 1n);
        expect(even === up || even === down).toBe(true);
      }),
    );
  });
});
