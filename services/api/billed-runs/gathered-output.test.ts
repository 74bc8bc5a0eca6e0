/** Parts of several answers, in whichever order they come, become whole ones again; and what is kept of them is read back as it was. */
import { describe, expect, test } from '@jest/globals';
import type { AnswerPart, CompletedRun } from './billed-run.js';
import { answersOf, GatheredOutput, partOfAnswer } from './gathered-output.js';
import { runFromText, runToText } from './stored-run.js';

const logprob = (token: string) => ({ token, bytes: [...Buffer.from(token)], logprob: -1, top: [] });

function gathered(...parts: AnswerPart[]): GatheredOutput {
  const output = new GatheredOutput();
  for (const part of parts) output.add(part);
  return output;
}

const PARTS: readonly AnswerPart[] = [
  { text: 'b', answer: 1, logprobs: [logprob('b')] },
  { text: 'a', answer: 0 },
  { text: '', answer: 0, toolCalls: [{ call: 0, id: 'c0', name: 'f', argumentsText: '{"x"' }] },
  { text: 'B', answer: 1, logprobs: [logprob('B')], finishReason: 'stop' },
  { text: '', answer: 0, toolCalls: [{ call: 1, id: 'c1', name: 'g', argumentsText: '{' }] },
  {
    text: '',
    answer: 0,
    toolCalls: [
      { call: 0, argumentsText: ':1}' },
      { call: 1, argumentsText: '}' },
    ],
    finishReason: 'tool_calls',
  },
];
const ANSWERS = [
  {
    text: 'a',
    toolCalls: [
      { id: 'c0', name: 'f', arguments: '{"x":1}' },
      { id: 'c1', name: 'g', arguments: '{}' },
    ],
    logprobs: null,
    embedding: null,
    finishReason: 'tool_calls' as const,
  },
  { text: 'bB', toolCalls: [], logprobs: [logprob('b'), logprob('B')], embedding: null, finishReason: 'stop' as const },
];

describe('gathering', () => {
  test('interleaved parts become one answer each: text, calls by their number, probabilities, reason', () => {
    expect(answersOf(gathered(...PARTS).take(), 2, 'length')).toEqual(ANSWERS);
  });

  test('what was taken in between loses nothing: calls go on where they were', () => {
    const first = gathered(...PARTS.slice(0, 4)).take();
    const second = gathered(...PARTS.slice(4)).take();
    expect(answersOf(gathered(...first, ...second).take(), 2, null)).toEqual(ANSWERS);
  });

  test('an answer that said nothing is empty, and one that nobody asked for is passed over', () => {
    const answers = answersOf(gathered({ text: 'x', answer: 5 }, { text: 'y' }).take(), 2, 'length');
    expect(answers.map(({ text, finishReason }) => [text, finishReason])).toEqual([
      ['y', 'length'],
      ['', 'length'],
    ]);
  });

  test('what waits is counted with everything it carries, and forgotten when it is taken', () => {
    const output = gathered({ text: 'abc' }, { text: '', toolCalls: [{ call: 0, id: 'i', name: 'n', argumentsText: '{}' }] });
    expect(output.characters).toBe(7);
    output.add({ text: '', embedding: 'AAAA', logprobs: [logprob('x')] });
    expect(output.characters).toBeGreaterThan(11);
    output.take();
    expect([output.characters, output.isEmpty]).toEqual([0, true]);
  });

  test('a whole answer as a part is the same answer again', () => {
    expect(answersOf(ANSWERS.map(partOfAnswer), 2, null)).toEqual(ANSWERS);
  });
});

describe('what is kept for a replay', () => {
  const run: CompletedRun = {
    runId: 'run_1',
    model: 'm',
    createdAtSeconds: 5,
    answers: ANSWERS,
    finishReason: 'stop',
    usage: { promptTokens: 1, cachedTokens: 0, completionTokens: 2 },
    chargedNanos: 12_345_678_901_234_567_890n,
    systemFingerprint: null,
  };

  test('is read back as it was, the charge to the last nano', () => {
    expect(runFromText(runToText(run))).toEqual(run);
  });

  test('before runs had several answers is still read', () => {
    const { answers: _answers, ...rest } = run;
    const old = JSON.stringify({ ...rest, text: 'Hello', chargedNanos: '7', finishReason: 'length' });
    expect(runFromText(old)).toMatchObject({
      answers: [{ text: 'Hello', toolCalls: [], logprobs: null, finishReason: 'length' }],
      chargedNanos: 7n,
      finishReason: 'length',
    });
  });
});
