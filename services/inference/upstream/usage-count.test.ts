/** Which counts of an upstream are believed. */
import { describe, expect, test } from '@jest/globals';
import { user } from './testing/upstream-under-test.js';
import { countTokensByBytes, countUsage, type GeneratedText } from './usage-count.js';

/** Five bytes of prompt, so at most 85 tokens; twelve bytes of text in two pieces, so three tokens by the rule of four bytes. */
const GENERATED: GeneratedText = {
  messages: [user('Hello')],
  text: 'twelve bytes',
  pieces: 2,
  outputTokensBudget: 10,
  contextTokens: 4_096,
};
const GOOD = { prompt_tokens: 30, completion_tokens: 4 };

const count = (reported: unknown, generated: Partial<GeneratedText> = {}) =>
  countUsage(reported, { ...GENERATED, ...generated }, countTokensByBytes);

describe('counts of an upstream', () => {
  test.each([
    ['plain', GOOD, [30, 0, 4]],
    ['with cached tokens', { ...GOOD, prompt_tokens_details: { cached_tokens: 29 } }, [30, 29, 4]],
    ['with empty details', { ...GOOD, prompt_tokens_details: { cached_tokens: null } }, [30, 0, 4]],
    ['with null details', { ...GOOD, prompt_tokens_details: null }, [30, 0, 4]],
    ['at the budget', { ...GOOD, completion_tokens: 10 }, [30, 0, 10]],
    ['at the most a prompt can have', { ...GOOD, prompt_tokens: 85 }, [85, 0, 4]],
  ])('%s are taken over', (_name, reported, [promptTokens, cachedTokens, completionTokens]) => {
    const usage = { promptTokens, cachedTokens, completionTokens };
    expect(count(reported)).toEqual({ usage, source: 'engine', faults: [] });
  });

  test.each<[string, unknown, number[], 'engine' | 'counted_locally', string[]]>([
    ['none', null, [6, 0, 3], 'counted_locally', ['usage_missing']],
    ['no object', 7, [6, 0, 3], 'counted_locally', ['usage_missing']],
    ['empty', {}, [6, 0, 3], 'counted_locally', ['prompt_tokens_impossible', 'completion_tokens_impossible']],
    ['negative prompt', { ...GOOD, prompt_tokens: -1 }, [6, 0, 4], 'counted_locally', ['prompt_tokens_impossible']],
    ['prompt of nothing', { ...GOOD, prompt_tokens: 0 }, [6, 0, 4], 'counted_locally', ['prompt_tokens_impossible']],
    ['prompt of more tokens than bytes', { ...GOOD, prompt_tokens: 86 }, [6, 0, 4], 'counted_locally', ['prompt_tokens_impossible']],
    ['half a token', { ...GOOD, completion_tokens: 1.5 }, [30, 0, 3], 'counted_locally', ['completion_tokens_impossible']],
    ['text', { ...GOOD, completion_tokens: '4' }, [30, 0, 3], 'counted_locally', ['completion_tokens_impossible']],
    ['text for nothing', { ...GOOD, completion_tokens: 0 }, [30, 0, 3], 'counted_locally', ['completion_tokens_impossible']],
    ['not finite', { ...GOOD, completion_tokens: 1e300 }, [30, 0, 3], 'counted_locally', ['completion_tokens_impossible']],
    ['beyond the budget', { ...GOOD, completion_tokens: 11 }, [30, 0, 10], 'engine', ['completion_tokens_above_budget']],
    [
      'more cached than prompt',
      { ...GOOD, prompt_tokens_details: { cached_tokens: 31 } },
      [30, 0, 4],
      'engine',
      ['cached_tokens_impossible'],
    ],
    ['negative cached', { ...GOOD, prompt_tokens_details: { cached_tokens: -1 } }, [30, 0, 4], 'engine', ['cached_tokens_impossible']],
  ])('%s are not', (_name, reported, [promptTokens, cachedTokens, completionTokens], source, faults) => {
    expect(count(reported)).toEqual({ usage: { promptTokens, cachedTokens, completionTokens }, source, faults });
  });
});

describe('counts of our own', () => {
  test('nothing generated is nothing', () => {
    expect(count(null, { text: '', pieces: 0 }).usage.completionTokens).toBe(0);
    expect(count({ ...GOOD, completion_tokens: 0 }, { text: '', pieces: 0 })).toMatchObject({ source: 'engine', faults: [] });
  });

  test('a piece is at least a token, and the budget is the most', () => {
    expect(count(null, { pieces: 7 }).usage.completionTokens).toBe(7);
    expect(count(null, { text: 'x'.repeat(100) }).usage.completionTokens).toBe(10);
  });

  test('a prompt never has more tokens than the context', () => {
    expect(count(null, { messages: [user('x'.repeat(1_000))], contextTokens: 64 }).usage.promptTokens).toBe(64);
  });
});
