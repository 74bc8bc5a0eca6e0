/** Values cut off anywhere and finished again: they validate as the whole ones do. */
import { describe, expect, test } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { type JsonObject, type JsonValue, readAnswerShapes } from '../../../../events/contract/index.js';
import { completionOf } from './json-completion.js';

const FORMATS = { date: true, time: true, 'date-time': true, uuid: true, ipv4: true, email: true } as const;

const VALUES: readonly [JsonObject, JsonValue][] = [
  [{}, { a: [1, -2.5e10, { b: null, c: 'x"\\\né😀' }], d: true }],
  [
    { type: 'object', additionalProperties: { type: 'integer' } },
    { one: 1, two: -20 },
  ],
  [
    {
      type: 'object',
      properties: {
        city: { type: 'string', minLength: 4 },
        unit: { enum: ['c', 'f', 'fahrenheit'] },
        days: { type: 'array', items: { type: 'boolean' }, minItems: 2 },
      },
      required: ['city', 'days'],
      additionalProperties: false,
    },
    { city: 'Tromsø', unit: 'fahrenheit', days: [true, false, true] },
  ],
  [{ type: 'array', items: { type: 'number', minimum: -2.5, maximum: 41.125 }, minItems: 3 }, [-2.5, 0.5, 41.125, 7]],
  [{ type: 'integer', minimum: 517, maximum: 99_999 }, 4_711],
  [{ type: 'integer', minimum: -40, maximum: -17 }, -23],
  [
    {
      anyOf: [
        { type: 'array', items: { type: 'string' } },
        { type: 'array', items: { type: 'object', properties: { k: { const: 1 } }, required: ['k'] } },
      ],
    },
    [{ k: 1 }],
  ],
  [
    {
      $ref: '#/$defs/n',
      $defs: {
        n: {
          type: 'object',
          properties: { n: { anyOf: [{ $ref: '#/$defs/n' }, { type: 'null' }] } },
          required: ['n'],
          additionalProperties: false,
        },
      },
    },
    { n: { n: { n: null } } },
  ],
  [{ type: 'string', format: 'date' }, '2024-12-31'],
  [{ type: 'string', format: 'date-time' }, '1999-12-31T23:59:59.123+05:30'],
  [{ type: 'string', format: 'uuid' }, '6ba7b810-9dad-11d1-80b4-00c04fd430c8'],
  [{ type: 'string', format: 'ipv4' }, '192.168.10.255'],
  [{ type: 'string', format: 'email' }, 'ada.lovelace@mail.example.org'],
];

describe('completion of JSON', () => {
  test.each(VALUES)('what is cut off of a value of %j can be finished', (schema, value) => {
    const validate = new Ajv2020({ strict: false, formats: FORMATS }).compile({ ...schema });
    const shapes = readAnswerShapes(schema);
    if ('reason' in shapes) throw new Error(shapes.reason);
    for (const text of [JSON.stringify(value), JSON.stringify(value, null, 1), JSON.stringify(value).replace(/[^ -~]/g, escaped)]) {
      expect(completionOf(shapes, text)).toBe('');
      for (let length = 0; length < text.length; length += 1) {
        // Text never ends inside a character.
        if (/[\uD800-\uDBFF]/.test(text[length - 1] ?? '')) continue;
        const begun = text.slice(0, length);
        const rest = completionOf(shapes, begun);
        expect([begun, rest]).toEqual([begun, expect.any(String)]);
        const whole = JSON.parse(begun + rest) as JsonValue;
        expect([begun + rest, validate(whole)]).toEqual([begun + rest, true]);
      }
    }
  });

  test('what is no beginning of a value is not finished', () => {
    const shapes = readAnswerShapes({
      type: 'object',
      properties: { a: { type: 'integer' } },
      required: ['a'],
      additionalProperties: false,
    });
    if ('reason' in shapes) throw new Error(shapes.reason);
    for (const text of ['[', '{"b', '{}', '{"a":"', '{"a":1} ']) expect(completionOf(shapes, text)).toBeNull();
  });
});

/** Surrogates are not escaped, neither by the grammar. */
function escaped(character: string): string {
  return /[\uD800-\uDFFF]/.test(character) ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
