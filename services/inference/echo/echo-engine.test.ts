/** The echo engine by the contract of all engines, and its documented rule literally. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { ChatMessage, Sampling, TokenLogprob, ToolCallDelta, ToolUse } from '../../../events/contract/index.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import type { EngineRun } from '../engine.js';
import { describeEngineContract } from '../engine-contract.js';
import { EchoEngine } from './echo-engine.js';
import { countPromptTokens, countTokens } from './echo-tokens.js';

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
  abilities: ['prompts', 'formats', 'tools', 'logprobs', 'embeddings', 'transcription'],
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

  test('a prompt is its own answer, and of token ids their numbers are, each one token', async () => {
    const asked = { messages: [], outputTokensBudget: 100 };
    expect(await echo({ ...asked, prompt: 'one two three' })).toMatchObject({ text: 'one two three', usage: { promptTokens: 4 } });
    expect(await echo({ ...asked, prompt: [11, 7, 5] })).toMatchObject({ text: '11 7 5', usage: { promptTokens: 3, completionTokens: 2 } });
  });

  test('text that must be JSON wraps the echo, and text with a schema is its example', async () => {
    expect((await echo({ format: { kind: 'json_object' } })).text).toBe('{"echo":"hello"}');
    const schema = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'], additionalProperties: false };
    expect((await echo({ format: { kind: 'json_schema', schema } })).text).toBe('{"a":0}');
  });

  const TOOLS = ['fare', 'fare_of', 'ride-now'].map((name) => ({ name, parameters: {} }));
  const RESULT: ChatMessage[] = [user('fare_of?'), { role: 'tool', content: '2', toolCallId: 'c' }];

  test.each<[string, readonly ChatMessage[], ToolUse['choice'], string | null]>([
    ['the first where one is required', [user('hi')], 'required', 'fare'],
    ['the one named', [user('hi')], { name: 'ride-now' }, 'ride-now'],
    ['the first whose name is a word of the question', [user('Call fare_of, ride-now!')], 'auto', 'fare_of'],
    ['none where no word is a name', [user('fares are unfair')], 'auto', null],
    ['none in answer to a result', RESULT, 'auto', null],
    ['one all the same where it is required', RESULT, 'required', 'fare'],
  ])('of the tools it calls %s', async (_name, messages, choice, called) => {
    const deltas: ToolCallDelta[] = [];
    const toolUse = { tools: TOOLS, choice, parallel: true };
    const { text, finishReason } = await echo({ messages, toolUse, onToolCalls: (parts) => deltas.push(...parts) });
    expect(deltas[0]?.name ?? null).toBe(called);
    expect(finishReason).toBe(called === null ? 'stop' : 'tool_calls');
    expect(text === '').toBe(called !== null);
    if (called !== null) expect(deltas.map(({ argumentsText }) => argumentsText).join('')).toBe('{}');
  });

  test('a call costs the tokens of its name and arguments, and its tools those of their JSON beside the prompt', async () => {
    const toolUse: ToolUse = { tools: TOOLS.slice(0, 1), choice: 'required', parallel: true };
    const { usage } = await echo({ toolUse });
    // '{"name":"fare","parameters":{}}' has 31 bytes.
    expect(usage).toEqual({ promptTokens: 4 + 2 + 4 + 8, cachedTokens: 0, completionTokens: 1 + 1 });
  });

  test('what it says is certain', async () => {
    const logprobs: TokenLogprob[] = [];
    const onText = (_text: string, chances: readonly TokenLogprob[] = []) => logprobs.push(...chances);
    await echo({ messages: [user('héllo😀')], sampling: { ...SAMPLING, logprobs: 5 }, onText });
    expect(logprobs.map(({ token, logprob, top }) => [token, logprob, top])).toEqual([
      ['hél', 0, []],
      ['lo', 0, []],
      ['😀', 0, []],
    ]);
  });

  test('what it hears is how long and how loud', async () => {
    const samples = Buffer.alloc(32_000);
    for (let at = 0; at < samples.length; at += 2) samples.writeInt16LE(at % 4 === 0 ? 8_192 : -8_192, at);
    const run = { runId: 'run_echo', samples, temperature: 0, signal: new AbortController().signal };
    const text = '1.0 seconds of sound at 25 % of full scale';
    expect(await new EchoEngine().transcribe(run)).toEqual({ text, language: 'en', segments: [{ startMs: 0, endMs: 1_000, text }] });
    expect((await new EchoEngine().transcribe({ ...run, samples: Buffer.alloc(0), language: 'fr' })).text).toBe('0.0 seconds of silence');
  });

  test('a shorter vector is the beginning of a longer one', async () => {
    const embed = async (dimensions?: number) => {
      const run = { runId: 'run_echo', inputs: ['hello'], signal: new AbortController().signal };
      const { vectors } = await new EchoEngine().embed(dimensions === undefined ? run : { ...run, dimensions });
      return [...(vectors[0] ?? [])];
    };
    const [whole, brief] = [await embed(), await embed(3)];
    expect([whole.length, brief.length]).toEqual([64, 3]);
    const scale = (brief[0] ?? 0) / (whole[0] ?? 1);
    for (const [index, number] of brief.entries()) expect(number).toBeCloseTo((whole[index] ?? 0) * scale, 5);
    await expect(embed(4_097)).rejects.toMatchObject({ code: 'engine_failed', retryable: false });
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
