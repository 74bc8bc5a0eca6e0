import { describe, expect, test } from '@jest/globals';
import type { CancelPolicy, PerRunTerms, PerTokenTerms, PriceTerms, TokenUsage } from '../../../../events/contract/index.js';
import { chargeFor } from '../../../ledger/domain/pricing.js';
import { explainCharge, explainPrice, lineAmount } from './explain-charge.js';

const perRun: PerRunTerms = {
  kind: 'per_run',
  pricePerRunNanos: 20_000_000n,
  includedTokens: 5_000,
  overagePerThousandNanos: 3_000_001n,
  overageUnit: 'token',
  rounding: 'up',
};
const perToken: PerTokenTerms = {
  kind: 'per_token',
  inputPerMillionNanos: 1_000_000n,
  cachedInputPerMillionNanos: 500_000n,
  outputPerMillionNanos: 2_000_001n,
  rounding: 'half_even',
};

const usage = (promptTokens: number, cachedTokens: number, completionTokens: number): TokenUsage => ({
  promptTokens,
  cachedTokens,
  completionTokens,
});

describe('explaining a price', () => {
  test('per run: the fare, and the overage by the token', () => {
    const price = explainPrice(perRun, usage(5_000, 0, 1));
    expect(price.lines.map((line) => [line.item, line.quantity, lineAmount(line)])).toEqual([
      ['run', 1, '0.02'],
      ['overage_tokens', 1, '0.000003000001'],
    ]);
    expect(price).toMatchObject({ exact: '0.020003000001', rounding: 'up', priceNanos: 20_003_001n });
  });

  test('per run: nothing over what is included', () => {
    expect(explainPrice(perRun, usage(4_000, 0, 1_000))).toMatchObject({ exact: '0.02', priceNanos: 20_000_000n });
  });

  test('per token: three rates, rounded once', () => {
    const price = explainPrice(perToken, usage(10, 4, 3));
    expect(price.lines.map((line) => [line.item, line.quantity, lineAmount(line)])).toEqual([
      ['input_tokens', 6, '0.000000006'],
      ['cached_input_tokens', 4, '0.000000002'],
      ['output_tokens', 3, '0.000000006000003'],
    ]);
    expect(price).toMatchObject({ exact: '0.000000014000003', rounding: 'half_even', priceNanos: 14n });
  });

  test('by started thousands: nothing is rounded but the thousands', () => {
    const terms: PriceTerms = { kind: 'per_started_thousand', pricePerStartedThousandNanos: 1_000_000_000n };
    expect(explainPrice(terms, usage(900, 0, 101))).toMatchObject({ exact: '2', rounding: 'none', priceNanos: 2_000_000_000n });
    expect(explainPrice(terms, usage(0, 0, 0)).priceNanos).toBe(0n);
  });

  test('free is free', () => {
    expect(explainPrice({ kind: 'free', reason: 'repeated' }, usage(9, 9, 9))).toMatchObject({ exact: '0', priceNanos: 0n });
  });

  test("is a second calculation that arrives at the ledger's charge, for every kind of terms and every rounding", () => {
    const roundings = ['up', 'down', 'half_even'] as const;
    const allTerms: PriceTerms[] = [
      ...roundings.map((rounding) => ({ ...perToken, rounding })),
      ...roundings.flatMap((rounding) => [
        { ...perRun, rounding },
        { ...perRun, rounding, pricePerRunNanos: 20_000_001n, overageUnit: 'started_thousand' as const },
        { ...perRun, rounding, overagePerThousandNanos: 500n },
      ]),
      { kind: 'per_started_thousand', pricePerStartedThousandNanos: 999_999_999n },
      { kind: 'free', reason: 'because' },
      { kind: 'per_started_audio_bytes', bytesPerUnit: 500, pricePerStartedUnitNanos: 7n },
      ...roundings.map((rounding): PriceTerms => ({ kind: 'per_audio_minute', pricePerMinuteNanos: 1_234_567n, rounding })),
    ];
    let state = 1;
    const next = (bound: number) => {
      // A linear congruential generator (Numerical Recipes): the same cases on every run.
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state % bound;
    };
    for (let round = 0; round < 2_000; round += 1) {
      const promptTokens = next(8_000);
      const tokens = usage(promptTokens, next(promptTokens + 1), next(8_000));
      const counts = { ...tokens, audio: { bytes: next(1_000_000), milliseconds: next(10_000_000) } };
      for (const terms of allTerms) expect(explainPrice(terms, counts).priceNanos).toBe(chargeFor(terms, counts));
    }
  });
});

test('minutes of audio that leave a part of a nano are shown as far as they go', () => {
  const terms: PriceTerms = { kind: 'per_audio_minute', pricePerMinuteNanos: 1_000_000n, rounding: 'up' };
  const audio = { bytes: 1, milliseconds: 61_000 };
  const price = explainPrice(terms, { ...usage(0, 0, 0), audio });
  expect([price.exact, price.priceNanos]).toEqual(['0.001016666666666…', 1_016_667n]);
  expect(price.lines.map(lineAmount)).toEqual(['0.001016666666666…']);
});

describe('holding the price against the books', () => {
  const run = (
    status: 'completed' | 'cancelled' | 'failed' | 'expired',
    heldNanos: bigint,
    chargedNanos: bigint,
    cancelPolicy: CancelPolicy = 'charge_generated',
    completionTokens = 5,
  ) => ({
    status,
    cancelPolicy,
    usage: usage(10, 0, completionTokens),
    heldNanos,
    chargedNanos,
    refundedNanos: heldNanos - chargedNanos,
  });

  test.each([
    ['a completed run', 10n, run('completed', 15n, 10n), null, true],
    ['a price above the hold', 20n, run('completed', 15n, 15n), 'capped_at_hold', true],
    ['a failed run', 10n, run('failed', 15n, 0n), 'run_failed', true],
    ['an expired hold', 0n, run('expired', 15n, 0n), 'hold_expired', true],
    ['a cancelled run that is refunded', 10n, run('cancelled', 15n, 0n, 'refund_all'), 'cancelled_run_is_refunded', true],
    [
      'a cancelled run that is charged against its policy',
      10n,
      run('cancelled', 15n, 10n, 'refund_all'),
      'cancelled_run_is_refunded',
      false,
    ],
    ['a cancelled run that is refunded against its policy', 10n, run('cancelled', 15n, 0n), null, false],
    [
      'a run that was cancelled before anything came',
      10n,
      run('cancelled', 15n, 0n, 'charge_generated', 0),
      'cancelled_before_anything_came',
      true,
    ],
    [
      'a run that is charged though it was cancelled before anything came',
      10n,
      run('cancelled', 15n, 10n, 'charge_generated', 0),
      'cancelled_before_anything_came',
      false,
    ],
    ['a cancelled run that is charged', 10n, run('cancelled', 15n, 10n), null, true],
    ['a wrong charge', 10n, run('completed', 15n, 11n), null, false],
    ['a charged failure', 10n, run('failed', 15n, 10n), 'run_failed', false],
    ['a refund that does not make up the hold', 10n, { ...run('completed', 15n, 10n), refundedNanos: 4n }, null, false],
  ] as const)('%s', (_what, priceNanos, booked, waiver, addsUp) => {
    expect(explainCharge(priceNanos, booked)).toEqual({ waiver, addsUp });
  });

  test('a run that is not settled is not judged', () => {
    expect(
      explainCharge(0n, {
        status: 'reserved',
        cancelPolicy: 'refund_all',
        usage: null,
        heldNanos: 5n,
        chargedNanos: null,
        refundedNanos: null,
      }),
    ).toEqual({
      waiver: null,
      addsUp: null,
    });
  });
});
