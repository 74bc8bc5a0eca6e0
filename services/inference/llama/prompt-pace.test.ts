/** The chunk of a prompt follows the machine's speed. */
import { describe, expect, test } from '@jest/globals';
import { CHUNK_TOKENS_MIN, DECODE_MS_TARGET, PromptPace } from './prompt-pace.js';

/** Reads prompts at a steady speed until the chunk settles. */
function chunkAt(tokensPerSecond: number, batchTokens = 512): number {
  const pace = new PromptPace(batchTokens);
  for (let decode = 0; decode < 12; decode += 1) {
    const tokens = pace.promptTokensMax(0);
    pace.observe(tokens, (tokens / tokensPerSecond) * 1_000);
  }
  return pace.promptTokensMax(0);
}

describe('prompt pace', () => {
  test.each([
    [10, CHUNK_TOKENS_MIN],
    [200, (200 * DECODE_MS_TARGET) / 1_000],
    [1_000, (1_000 * DECODE_MS_TARGET) / 1_000],
    [100_000, 512],
  ])('at %d tokens a second a decode takes %d of them', (tokensPerSecond, chunk) => {
    expect(Math.abs(chunkAt(tokensPerSecond) - chunk)).toBeLessThanOrEqual(1);
  });

  test('generating runs come out of the same batch', () => {
    const pace = new PromptPace(32);
    expect(pace.promptTokensMax(0)).toBe(32);
    expect(pace.promptTokensMax(8)).toBe(24);
    expect(pace.promptTokensMax(40)).toBe(0);
  });

  test('one lucky decode at most doubles the chunk, and few tokens tell nothing', () => {
    const pace = new PromptPace(512);
    const first = pace.promptTokensMax(0);
    pace.observe(CHUNK_TOKENS_MIN - 1, 10_000);
    expect(pace.promptTokensMax(0)).toBe(first);
    pace.observe(first, 0);
    expect(pace.promptTokensMax(0)).toBe(2 * first);
  });
});
