/** An answer has one hash, in whichever form a client has it. */
import { describe, expect, test } from '@jest/globals';
import { textOfAnswers } from '../../../events/contract/index.js';
import { answerTextOf } from './answer-text.js';

const CALL = { id: 'call_1', name: 'weather', arguments: '{"city":"Lagos"}' };
const chatCall = { id: CALL.id, type: 'function', function: { name: CALL.name, arguments: CALL.arguments } };
const stream = (...chunks: unknown[]) => [...chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`), 'data: [DONE]\n\n'].join('');
const delta = (index: number, content: object) => ({ choices: [{ index, delta: content, finish_reason: null }] });

describe('the text of', () => {
  test.each([
    ['a chat answer', JSON.stringify({ choices: [{ message: { content: 'Hi' } }] }), [{ text: 'Hi' }]],
    [
      'two answers, one of them a tool call',
      JSON.stringify({ choices: [{ message: { content: 'Hi' } }, { message: { content: null, tool_calls: [chatCall] } }] }),
      [{ text: 'Hi' }, { text: '', toolCalls: [CALL] }],
    ],
    ['a completion', JSON.stringify({ choices: [{ text: 'a' }, { text: 'b' }] }), [{ text: 'a' }, { text: 'b' }]],
    ['an embedding in base64', JSON.stringify({ data: [{ embedding: 'AACAPwAAAL8=' }] }), [{ text: 'AACAPwAAAL8=' }]],
    ['the same embedding in floats', JSON.stringify({ data: [{ embedding: [1, -0.5] }] }), [{ text: 'AACAPwAAAL8=' }]],
    ['a transcription', JSON.stringify({ text: 'Good morning.', duration: 2 }), [{ text: 'Good morning.' }]],
    ['a transcription as plain text', 'Good morning.\n', [{ text: 'Good morning.' }]],
    [
      'a streamed chat of two answers, pieces mixed, with events of the brand',
      `event: farebox\ndata: {"request_id":"req_1"}\n\n${stream(delta(1, { content: 'b' }), delta(0, { role: 'assistant', content: '' }), delta(0, { content: 'a' }), delta(1, { content: 'B' }))}`,
      [{ text: 'a' }, { text: 'bB' }],
    ],
    [
      'a streamed tool call',
      stream(
        delta(0, { tool_calls: [{ index: 0, id: CALL.id, type: 'function', function: { name: CALL.name, arguments: '{"city"' } }] }),
        delta(0, { tool_calls: [{ index: 0, function: { arguments: ':"Lagos"}' } }] }),
      ),
      [{ text: '', toolCalls: [CALL] }],
    ],
    ['a streamed completion', stream({ choices: [{ index: 0, text: 'a' }] }, { choices: [{ index: 0, text: 'b' }] }), [{ text: 'ab' }]],
  ])('%s', (_name, content, answers) => {
    expect(answerTextOf(content)).toBe(textOfAnswers(answers));
  });

  test('what is no answer is not taken for one', () => {
    expect(answerTextOf('{"error":{"code":"x"}}')).toBeNull();
    expect(answerTextOf('data: [DONE]\n\n')).toBeNull();
  });
});
