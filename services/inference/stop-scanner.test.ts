/** Stop sequences against text cut at every place. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { firstStop, StopScanner } from './stop-scanner.js';

/** What a scanner lets through when `text` comes in the given pieces. */
function scan(pieces: readonly string[], stops: readonly string[]): { text: string; stopped: boolean } {
  const scanner = new StopScanner(stops);
  let text = '';
  for (const piece of pieces) text += scanner.push(piece);
  text += scanner.flush();
  return { text, stopped: scanner.stopped };
}

describe('stop scanner', () => {
  test.each([
    ['one piece', ['one END two'], ['END'], 'one '],
    ['cut inside the stop sequence', ['one E', 'N', 'D two'], ['END'], 'one '],
    ['a false start before the real one', ['one EN', 'END two'], ['END'], 'one EN'],
    ['the earliest of two', ['a B c A'], ['A', 'B'], 'a '],
    ['one stop sequence begins within another', ['xab', 'c'], ['abd', 'bc'], 'xa'],
    ['emoji', ['well 😀', '😁'], ['😁'], 'well 😀'],
  ])('%s', (_name, pieces, stops, text) => {
    expect(scan(pieces, stops)).toEqual({ text, stopped: true });
  });

  test('an unfinished stop sequence comes out at the end', () => {
    expect(scan(['one EN'], ['END'])).toEqual({ text: 'one EN', stopped: false });
  });

  test('empty stop sequences stop nothing', () => {
    expect(scan(['text'], ['', ''])).toEqual({ text: 'text', stopped: false });
  });

  test('however the text is cut, the result is that of the whole text', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 30 });
    const stop = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.array(letters, { maxLength: 8 }), fc.array(stop, { maxLength: 3 }), (pieces, stops) => {
        const whole = pieces.join('');
        const found = firstStop(whole, stops);
        // With overlapping stop sequences of different lengths the one that is complete first wins, so compare by what can never happen.
        const { text, stopped } = scan(pieces, stops);
        expect(stopped).toBe(found !== null);
        expect(whole.startsWith(text)).toBe(true);
        expect(firstStop(text, stops)).toBeNull();
        if (found === null) expect(text).toBe(whole);
      }),
    );
  });
});
