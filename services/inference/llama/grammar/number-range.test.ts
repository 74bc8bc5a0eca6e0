/** Ranges of numbers as expressions, checked as the regular expressions that they also are. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { rangeExpression } from './number-range.js';

/** This much of GBNF, blanks and quotation marks apart, is the notation of regular expressions. */
function patternOf(expression: string): RegExp {
  return new RegExp(`^(${expression.replaceAll('"."', '\\.').replaceAll('"', '').replaceAll(' ', '')})$`);
}

describe('number ranges', () => {
  test.each([0, 6])('with %d digits behind the point exactly the numbers within the bounds are allowed', (fractionDigits) => {
    const scale = 10 ** fractionDigits;
    const numbers = fc.oneof(
      fc.integer({ min: -200, max: 200 }),
      fc.maxSafeInteger().map((value) => value % 1e15),
    );
    fc.assert(
      fc.property(numbers, numbers, fc.array(numbers, { minLength: 4 }), (a, b, others) => {
        const [least, most] = [Math.min(a, b), Math.max(a, b)];
        const pattern = patternOf(rangeExpression(least, most, fractionDigits));
        for (const value of [least, most, least - 1, most + 1, Math.trunc(least / 2 + most / 2), ...others]) {
          if (Object.is(value, -0) || Math.abs(value) > 1e15) continue;
          const text = fractionDigits === 0 ? String(value) : decimal(value, scale);
          expect([text, pattern.test(text)]).toEqual([text, value >= least && value <= most]);
        }
      }),
    );
  });

  test('zeros at the end may be left out, leading ones are never written', () => {
    const pattern = patternOf(rangeExpression(0, 1_000_000, 6));
    for (const text of ['0', '0.5', '0.50', '0.000001', '1', '1.0']) expect(pattern.test(text)).toBe(true);
    for (const text of ['00', '01', '1.1', '0.', '.5', '-0', '0.0000001']) expect(pattern.test(text)).toBe(false);
  });
});

/** Exact, as the numbers are whole until here. */
function decimal(value: number, scale: number): string {
  const magnitude = Math.abs(value);
  const digits = String(scale).length - 1;
  return `${value < 0 ? '-' : ''}${Math.floor(magnitude / scale)}.${String(magnitude % scale).padStart(digits, '0')}`;
}
