import { describe, expect, test } from '@jest/globals';
import { cosineAndSine, exponential } from './exact-math.js';

describe('exact mathematics', () => {
  test('the exponential agrees with Math.exp to eight digits', () => {
    for (let x = -80; x <= 80; x += 0.37) expect(Math.abs(exponential(x) / Math.exp(x) - 1)).toBeLessThan(1e-8);
  });

  test('the exponential ends in zero, not in an error', () => {
    expect([exponential(-1000), exponential(Number.NEGATIVE_INFINITY)]).toEqual([0, 0]);
  });

  test('cosine and sine agree with those of Math to nine decimals', () => {
    for (let angle = 0; angle < 10_000; angle += 7.13) {
      const [cosine, sine] = cosineAndSine(angle);
      expect(Math.abs(cosine - Math.cos(angle))).toBeLessThan(1e-9);
      expect(Math.abs(sine - Math.sin(angle))).toBeLessThan(1e-9);
    }
  });
});
