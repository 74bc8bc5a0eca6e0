import { describe, expect, test } from '@jest/globals';
import { apiKeyHint, isSecretShaped, makeApiKeySecret, secretDigest } from './api-key-secret.js';

describe('API key secrets', () => {
  test('carry their prefix and 43 characters of base 62, which are 256 bits', () => {
    expect(makeApiKeySecret('hunt_sk_live_')).toMatch(/^hunt_sk_live_[0-9A-Za-z]{43}$/);
  });

  test('never repeat, and use every character of the alphabet alike', () => {
    const secrets = Array.from({ length: 2_000 }, () => makeApiKeySecret(''));
    expect(new Set(secrets).size).toBe(secrets.length);
    const counts = new Map<string, number>();
    for (const character of secrets.join('')) counts.set(character, (counts.get(character) ?? 0) + 1);
    expect(counts.size).toBe(62);
    // 86,000 draws of 62: 1,387 each, with a standard deviation of 37. Seven of them are a fault of the generator, not chance.
    for (const count of counts.values()) expect(Math.abs(count - 1_387)).toBeLessThan(7 * 37);
  });

  test('are shown by a hint that does not open anything', () => {
    const secret = makeApiKeySecret('sk_test_');
    const hint = apiKeyHint(secret, 'sk_test_');
    expect(hint).toBe(`${secret.slice(0, 12)}…`);
    expect(isSecretShaped(hint)).toBe(false);
  });

  test('are stored by the SHA-256 of the whole', () => {
    expect(secretDigest('abc').toString('hex')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });

  test.each([
    ['a real one', makeApiKeySecret('fb_live_'), true],
    ['nothing', '', false],
    ['a NUL', 'fb_live_\u0000', false],
    ['SQL', "fb_live_' or 1=1 --", false],
    ['129 characters', 'a'.repeat(129), false],
  ])('%s is looked up: %#', (_what, text, isShaped) => {
    expect(isSecretShaped(text)).toBe(isShaped);
  });
});
