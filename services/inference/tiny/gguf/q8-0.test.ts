import { describe, expect, test } from '@jest/globals';
import { halfPrecisionBits, Q8_0_BLOCK_VALUES, quantizeQ8_0 } from './q8-0.js';

describe('halfPrecisionBits', () => {
  test.each([
    [0, 0x0000],
    [1, 0x3c00],
    [0.5, 0x3800],
    [65504, 0x7bff],
    [2 ** -14, 0x0400],
    [2 ** -24, 0x0001],
    [1 / 3, 0x3555],
    [1 + 2 ** -11, 0x3c00], // a tie goes to the even mantissa,
    [1 + 3 * 2 ** -11, 0x3c02], // upwards too,
    [2 - 2 ** -12, 0x4000], // and a carry reaches the exponent
  ])('%d is %d', (value, bits) => {
    expect(halfPrecisionBits(value)).toBe(bits);
  });

  test.each([-1, 65505, Number.NaN, Number.POSITIVE_INFINITY])('%d throws', (value) => {
    expect(() => halfPrecisionBits(value)).toThrow('half-precision');
  });
});

describe('quantizeQ8_0', () => {
  test('the largest magnitude of a block becomes ±127 and the rest keep their proportion', () => {
    const values = new Float32Array(Q8_0_BLOCK_VALUES);
    values.set([127, -127, 63.5, -0.4, 1]);
    const bytes = quantizeQ8_0(values);
    expect(new DataView(bytes.buffer).getUint16(0, true)).toBe(0x3c00);
    expect(Array.from(new Int8Array(bytes.buffer, 2, 6))).toEqual([127, -127, 64, 0, 1, 0]);
  });

  test('a block of zeros has scale zero', () => {
    expect(quantizeQ8_0(new Float32Array(Q8_0_BLOCK_VALUES)).every((byte) => byte === 0)).toBe(true);
  });

  test('a broken block throws', () => {
    expect(() => quantizeQ8_0(new Float32Array(33))).toThrow('whole number of Q8_0 blocks');
  });
});
