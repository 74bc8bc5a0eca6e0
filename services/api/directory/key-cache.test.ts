import { describe, expect, test } from '@jest/globals';
import { KEY_CACHE_ENTRIES_MAX, KEY_CACHE_TTL_MS, KeyCache } from './key-cache.js';

/** A source that counts how often it is asked and answers when told to. */
function source() {
  let asked = 0;
  const waiting: ((value: string | null) => void)[] = [];
  return {
    load: () => {
      asked += 1;
      return new Promise<string | null>((resolve) => waiting.push(resolve));
    },
    answer: (value: string | null) => waiting.shift()?.(value),
    asked: () => asked,
  };
}

describe('the key cache', () => {
  test('asks once for concurrent look-ups of one key', async () => {
    const cache = new KeyCache<string>(() => 0);
    const keys = source();
    const looks = Array.from({ length: 50 }, () => cache.get('d', keys.load));
    keys.answer('key');
    expect(new Set(await Promise.all(looks))).toEqual(new Set(['key']));
    expect(keys.asked()).toBe(1);
  });

  test('forgets within a second of when the question was sent, not of when it was answered', async () => {
    let nowMs = 0;
    const cache = new KeyCache<string>(() => nowMs);
    const keys = source();
    const first = cache.get('d', keys.load);
    nowMs = 600;
    keys.answer('key');
    await first;
    nowMs = KEY_CACHE_TTL_MS - 1;
    await cache.get('d', keys.load);
    expect(keys.asked()).toBe(1);
    nowMs = KEY_CACHE_TTL_MS;
    const again = cache.get('d', keys.load);
    expect(keys.asked()).toBe(2);
    keys.answer('key');
    await again;
    expect(KEY_CACHE_TTL_MS).toBeLessThan(1_000);
  });

  test('does not keep what was read before the key was changed here', async () => {
    const cache = new KeyCache<string>(() => 0);
    const keys = source();
    const before = cache.get('d', keys.load);
    cache.forget('d');
    const after = cache.get('d', keys.load);
    keys.answer('active');
    keys.answer('revoked');
    expect(await before).toBe('active');
    expect(await after).toBe('revoked');
    expect(await cache.get('d', keys.load)).toBe('revoked');
  });

  test('does not remember that there is no such key', async () => {
    const cache = new KeyCache<string>(() => 0);
    expect(await cache.get('d', async () => null)).toBeNull();
    expect(await cache.get('d', async () => 'created since')).toBe('created since');
  });

  test('passes a failure to everybody who waits, and asks again after it', async () => {
    const cache = new KeyCache<string>(() => 0);
    const failing = () => Promise.reject(new Error('down'));
    await expect(Promise.all([cache.get('d', failing), cache.get('d', failing)])).rejects.toThrow('down');
    expect(await cache.get('d', async () => 'key')).toBe('key');
  });

  test('is bounded', async () => {
    const cache = new KeyCache<string>(() => 0);
    for (let index = 0; index <= KEY_CACHE_ENTRIES_MAX; index += 1) await cache.get(`d${index}`, async () => 'key');
    let asked = 0;
    await cache.get('d0', async () => {
      asked += 1;
      return 'key';
    });
    expect(asked).toBe(1);
  });
});
