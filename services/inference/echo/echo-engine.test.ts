/** The echo engine by the contract of all engines, and its documented rule literally. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { ChatMessage, Sampling } from '../../../events/contract/index.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import type { EngineRun } from '../engine.js';
import { describeEngineContract } from '../engine-contract.js';
import { countPromptTokens, countTokens, EchoEngine } from './echo-engine.js';

const SAMPLING: Sampling = { temperature: 1, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: null };

const user = (content: string): ChatMessage => ({ role: 'user', content });

/** 210 tokens of one, two and four bytes a character. Its numbers keep phrases apart, so that a stop sequence is met where it was taken from. */
const LONG_TEXT = Buffer.from(Array.from({ length: 100 }, (_, index) => `${index}:é😀`).join(''))
  .subarray(0, 840)
  .toString('utf8')
  .replace(/\uFFFD+$/u, '');

describeEngineContract('echo, paced', {
  makeEngine: async ({ slots, queuedMax, contextTokens }) =>
    new EchoEngine({ contextTokens, pacing: { scheduler: eventLoopScheduler, tokenDelayMs: 0, slots, queuedMax } }),
  long: { messages: [user(LONG_TEXT)], sampling: SAMPLING },
  short: { messages: [user('A short question?')], sampling: SAMPLING },
  promptBeyond: (tokens) => [user('word '.repeat(tokens))],
});

async function echo(overrides: Partial<EngineRun>) {
  let text = '';
  const result = await new EchoEngine().run({
    runId: 'run_echo',
    messages: [user('hello')],
    sampling: SAMPLING,
    stop: [],
    outputTokensBudget: 1_000,
    onText: (piece) => {
      text += piece;
    },
    signal: new AbortController().signal,
    ...overrides,
  });
  return { text, ...result };
}

describe('the echo rule', () => {
  test('the answer is the last user message', async () => {
    const messages: ChatMessage[] = [
      { role: 'system', content: 'Be brief.' },
      user('first'),
      { role: 'assistant', content: 'ok' },
      user('second'),
      { role: 'tool', content: 'result' },
    ];
    expect((await echo({ messages })).text).toBe('second');
    expect((await echo({ messages: [{ role: 'system', content: 'only me' }] })).text).toBe('only me');
  });

  test.each([
    ['', 0],
    ['a', 1],
    ['four', 1],
    ['fiver', 2],
    ['é', 1],
    ['😀', 1],
    ['a😀', 2],
  ])('%j has %d tokens', (text, tokens) => {
    expect(countTokens(text)).toBe(tokens);
  });

  test('a message costs four tokens more than its content, which counts for at least one', () => {
    expect(countPromptTokens([user('')])).toBe(5);
    expect(countPromptTokens([user('eight by'), user('x')])).toBe(4 + 2 + 4 + 1);
  });

  test.each([
    ['room to spare', 10, [], 'one two three', 'stop', 4],
    ['exactly enough', 4, [], 'one two three', 'stop', 4],
    ['too little', 3, [], 'one two thre', 'length', 3],
    ['a stop sequence', 10, ['two'], 'one ', 'stop', 2],
    ['a stop sequence beyond the budget', 2, ['three'], 'one two ', 'length', 2],
    ['a stop sequence cut by the budget', 1, [' two'], 'one ', 'length', 1],
  ])('%s', async (_name, outputTokensBudget, stop, text, finishReason, completionTokens) => {
    const answer = await echo({ messages: [user('one two three')], outputTokensBudget, stop });
    expect(answer).toMatchObject({ text, finishReason, usage: { promptTokens: 8, cachedTokens: 0, completionTokens } });
  });

  test('whatever the text, a budget that is too small is used up exactly and no character is split', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 80 }),
        async (content, budget) => {
          const { text, finishReason, usage } = await echo({ messages: [user(content)], outputTokensBudget: budget });
          expect(content.startsWith(text)).toBe(true);
          expect(countTokens(text)).toBe(usage.completionTokens);
          expect(usage.completionTokens).toBe(Math.min(budget, countTokens(content)));
          expect(finishReason).toBe(countTokens(content) > budget ? 'length' : 'stop');
          expect(text).not.toMatch(/\p{Surrogate}$/u);
        },
      ),
    );
  });
});
