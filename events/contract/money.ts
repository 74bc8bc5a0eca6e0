/** Money as integers. One unit of a preset's currency (1 USD, 1 credit) is 1 000 000 000 nanos; no float ever touches an amount. */

/** An amount in billionths of the preset's unit. May be negative only where a sign is documented. */
export type Nanos = bigint;

export const NANOS_PER_UNIT: Nanos = 1_000_000_000n;

/** How a quotient that is not whole becomes nanos. Every price names one; a charge is rounded exactly once. */
export const ROUNDINGS = ['up', 'down', 'half_even'] as const;
export type Rounding = (typeof ROUNDINGS)[number];

const AMOUNT_PATTERN = /^(-?)(\d{1,12})(?:\.(\d{1,9}))?$/;

/** Parses a decimal string such as `"12.50"`. Returns `null` when it is not one, or when it needs more than nine decimals. */
export function parseAmount(text: string): Nanos | null {
  const match = AMOUNT_PATTERN.exec(text);
  if (match === null) return null;
  const [, sign, whole = '0', fraction = ''] = match;
  const nanos = BigInt(whole) * NANOS_PER_UNIT + BigInt(fraction.padEnd(9, '0'));
  return sign === '-' ? -nanos : nanos;
}

/** The shortest exact decimal: `1500000000n` is `"1.5"`, `0n` is `"0"`. */
export function formatAmount(nanos: Nanos): string {
  const absolute = nanos < 0n ? -nanos : nanos;
  const whole = absolute / NANOS_PER_UNIT;
  const fraction = (absolute % NANOS_PER_UNIT).toString().padStart(9, '0').replace(/0+$/, '');
  const sign = nanos < 0n ? '-' : '';
  return fraction === '' ? `${sign}${whole}` : `${sign}${whole}.${fraction}`;
}

/** `numerator / denominator` for non-negative numerators, rounded as named. */
export function divideRounding(numerator: bigint, denominator: bigint, rounding: Rounding): bigint {
  if (numerator < 0n || denominator <= 0n) throw new RangeError('divideRounding takes numerator >= 0 and denominator > 0');
  const quotient = numerator / denominator;
  const remainder = numerator % denominator;
  if (remainder === 0n || rounding === 'down') return quotient;
  if (rounding === 'up') return quotient + 1n;
  const doubled = remainder * 2n;
  if (doubled > denominator || (doubled === denominator && quotient % 2n === 1n)) return quotient + 1n;
  return quotient;
}
