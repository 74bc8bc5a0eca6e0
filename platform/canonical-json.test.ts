/** One value, one text. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { canonicalJson } from './canonical-json.js';

/** The scheme said in the shortest way, to hold the fast one against. */
function plainly(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(plainly).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  return `{${entries.map(([key, member]) => `${JSON.stringify(key)}:${plainly(member)}`).join(',')}}`;
}

describe('canonical JSON', () => {
  test.each([
    [
      'keys are put in order, at every depth',
      { b: [{ d: 1, c: 2 }], a: { z: null, y: true } },
      '{"a":{"y":true,"z":null},"b":[{"c":2,"d":1}]}',
    ],
    [
      'by code units, not by what looks alike',
      { ö: 1, z: 2, '€': 3, '\u{1f600}': 4, '\ufb33': 5 },
      '{"z":2,"ö":1,"€":3,"\u{1f600}":4,"\ufb33":5}',
    ],
    ['keys that look like indexes, too', { 10: 1, 9: 2, a: 3, '': 4 }, '{"":4,"10":1,"9":2,"a":3}'],
    ['what is undefined is left out', { b: undefined, a: 1 }, '{"a":1}'],
    ['numbers as ECMAScript writes them', [1e30, 4.5, 2e-3, -0, 1 / 3], '[1e+30,4.5,0.002,0,0.3333333333333333]'],
    ['characters are escaped only where they must be', '\u000f\n"\\é\u2028', '"\\u000f\\n\\"\\\\é\u2028"'],
  ])('%s', (_name, value, text) => {
    expect(canonicalJson(value)).toBe(text);
  });

  test('a key that means something to objects is a key like any other', () => {
    expect(canonicalJson(JSON.parse('{"b":1,"__proto__":{"x":1},"a":2}'))).toBe('{"__proto__":{"x":1},"a":2,"b":1}');
  });

  test('what JSON cannot say is not said', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 1n, { a: [Number.NaN] }, { 1: Number.NaN }]) {
      expect(() => canonicalJson(value)).toThrow(TypeError);
    }
  });

  test('any JSON value has the text that the scheme says, and keeps its meaning', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(canonicalJson(value)).toBe(plainly(value));
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});
