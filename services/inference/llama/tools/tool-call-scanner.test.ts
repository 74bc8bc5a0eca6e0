/** Answers cut into pieces at every place: text and calls come out the same. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ToolCallScanner } from './tool-call-scanner.js';
import { BARE_CALL, LISTED_CALLS, TAGGED_CALLS, type ToolSyntax } from './tool-syntax.js';

const CALLS = [
  { name: 'get_weather', arguments: '{"city": "a \\"}{ b", "days": [1, [2]]}' },
  { name: 'quote"d', arguments: '{}' },
];

function written({ begin, open, middle, close, separator, end, callsMax }: ToolSyntax): string {
  const calls = CALLS.slice(0, callsMax).map((call) => open + JSON.stringify(call.name).slice(1, -1) + middle + call.arguments + close);
  return begin + calls.join(separator) + end;
}

function scan(answer: string, cuts: readonly number[], syntax: ToolSyntax, mayBeText = true) {
  let ids = 0;
  const scanner = new ToolCallScanner({ syntax, mayBeText, makeCallId: () => `call_${++ids}` });
  const calls: { id: string; name: string; arguments: string }[] = [];
  let text = '';
  const places = [...new Set(cuts.map((cut) => cut % (answer.length + 1)))].sort((a, b) => a - b);
  for (const [index, from] of [0, ...places].entries()) {
    const scanned = scanner.push(answer.slice(from, places[index] ?? answer.length));
    text += scanned.text;
    for (const { call, id, name, argumentsText } of scanned.deltas) {
      if (id !== undefined && name !== undefined) calls[call] = { id, name, arguments: '' };
      const known = calls[call];
      if (known === undefined) throw new Error('a call without beginning');
      known.arguments += argumentsText;
    }
  }
  return {
    text: text + scanner.flush(),
    calls: calls.map(({ name, arguments: json }) => ({ name, arguments: json })),
    hasCalls: scanner.hasCalls,
  };
}

describe('tool call scanner', () => {
  test.each([
    ['tagged', TAGGED_CALLS],
    ['listed', LISTED_CALLS],
    ['bare', BARE_CALL],
  ])('%s calls are found in any pieces, and never show in the text', (_name, syntax) => {
    fc.assert(
      fc.property(fc.array(fc.nat()), (cuts) => {
        const expected = CALLS.slice(0, syntax.callsMax);
        expect(scan(written(syntax), cuts, syntax)).toEqual({ text: '', calls: expected, hasCalls: true });
        expect(scan(written(syntax), cuts, syntax, false)).toEqual({ text: '', calls: expected, hasCalls: true });
        if (syntax.marker === null) return;
        expect(scan(`\n\nOf course. <${written(syntax)}`, cuts, syntax)).toEqual({
          text: '\n\nOf course. <',
          calls: expected,
          hasCalls: true,
        });
        expect(scan(`\n ${written(syntax)}`, cuts, syntax).text).toBe('');
      }),
    );
  });

  test.each([TAGGED_CALLS, LISTED_CALLS, BARE_CALL])('what only begins like a call is text', (syntax) => {
    for (const answer of ['Hello', ' ', `a ${(syntax.marker ?? 'x{"na').slice(0, 5)}`, '<b>[1] {2}']) {
      fc.assert(
        fc.property(fc.array(fc.nat()), (cuts) => {
          expect(scan(answer, cuts, syntax)).toEqual({ text: answer, calls: [], hasCalls: false });
        }),
      );
    }
  });
});
