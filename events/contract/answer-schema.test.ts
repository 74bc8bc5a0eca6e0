/** Schemas that answers can be held to, judged by a validator that knows nothing of ours. */
import { describe, expect, test } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { checkAnswerSchema, checkObjectSchema, exampleOf } from './answer-schema.js';
import { ENUM_VALUES_MAX, PROPERTIES_MAX, REPETITIONS_MAX, SCHEMA_DEPTH_MAX, SHAPES_MAX } from './answer-shape.js';
import type { JsonObject, JsonValue } from './envelope.js';

const FORMATS = { date: true, time: true, 'date-time': true, uuid: true, ipv4: true, email: true } as const;

function isValid(schema: JsonObject, value: JsonValue): boolean {
  return new Ajv2020({ strict: false, formats: FORMATS }).validate({ ...schema }, value);
}

const nested = (levels: number): JsonObject => {
  let schema: JsonObject = { type: 'string' };
  for (let level = 0; level < levels; level += 1) schema = { type: 'array', items: schema };
  return schema;
};

const object = (properties: JsonObject, more: JsonObject = {}): JsonObject => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
  ...more,
});

const ACCEPTED: readonly JsonObject[] = [
  {},
  { type: 'object' },
  { type: ['string', 'null'], minLength: 3 },
  { type: 'integer', minimum: 3, exclusiveMaximum: 4 },
  { type: 'number', exclusiveMinimum: 0.1, maximum: 0.100001 },
  { type: 'number', minimum: -2.5, maximum: -1.25 },
  { enum: ['a', 1, null, { deep: [1] }], type: ['string', 'object'] },
  { const: 'only', enum: ['only', 'other'] },
  object(
    { city: { type: 'string' }, unit: { enum: ['c', 'f'] } },
    { title: 'Weather', $schema: 'https://json-schema.org/draft/2020-12/schema' },
  ),
  object({ list: { type: 'array', items: { type: 'integer' }, minItems: 2, maxItems: 4 } }),
  { type: 'object', required: ['undeclared'] },
  { type: 'object', additionalProperties: { type: 'integer' } },
  {
    anyOf: [
      { type: 'array', minItems: 3 },
      { type: 'string', minLength: 2 },
    ],
  },
  { oneOf: [object({ kind: { const: 'a' }, n: { type: 'integer' } }), object({ kind: { const: 'b' } })] },
  { allOf: [{ $ref: '#/$defs/text' }], $defs: { text: { type: 'string', format: 'date-time' } } },
  object({ child: { anyOf: [{ $ref: '#' }, { type: 'null' }] } }),
  { $ref: '#/definitions/list', definitions: { list: { type: 'array', items: { $ref: '#/definitions/list' } } } },
  { type: 'object', properties: { endless: { $ref: '#/$defs/e' } }, $defs: { e: object({ e: { $ref: '#/$defs/e' } }) } },
];

const REFUSED: readonly [JsonObject, string, RegExp][] = [
  [{ type: 'string', pattern: `${'('.repeat(60_000)}a${')'.repeat(60_000)}` }, '', /more than 65536 characters/],
  [{ type: 'string', pattern: '^a+$' }, '/pattern', /`pattern` is not supported/],
  [object({ a: { not: {} } }), '/properties/a/not', /`not`/],
  [{ type: 'array', uniqueItems: true }, '/uniqueItems', /uniqueItems/],
  [{ type: 'array', prefixItems: [] }, '/prefixItems', /prefixItems/],
  [{ type: 'string', format: 'uri' }, '/format', /there are date, time/],
  [{ type: 'number', multipleOf: 0.1 }, '/multipleOf', /multipleOf/],
  [{ type: 'integer', minimum: 5, maximum: 4 }, '', /no number/],
  [{ type: 'integer', minimum: 1e300 }, '/minimum', /at most 999999999999999/],
  [{ type: 'number', minimum: 1e-9 }, '/minimum', /digits behind the point/],
  [{ type: 'text' }, '/type', /one or more of/],
  [{ enum: [] }, '', /no listed value/],
  [{ enum: [1], type: 'string' }, '', /no listed value/],
  [{ enum: [1], minimum: 0 }, '/minimum', /beside `enum`/],
  [{ $ref: '#/$defs/none' }, '/$ref', /name a definition/],
  [{ $ref: 'https://example.com/schema' }, '/$ref', /must be/],
  [{ $ref: '#' }, '', /leads back to itself/],
  [{ anyOf: [{ $ref: '#' }, { type: 'null' }] }, '', /leads back to itself/],
  [object({ self: { $ref: '#' } }), '', /contain itself/],
  [{ oneOf: [{ type: 'integer' }, { type: 'number' }] }, '/oneOf', /may overlap/],
  [{ oneOf: [{ properties: { a: { const: 1 } }, required: ['a'] }, { type: 'string' }] }, '/oneOf', /may overlap/],
  [{ type: 'array', maxItems: 1_000_000_000 }, '', /sum up to more/],
  [{ type: 'string', minLength: REPETITIONS_MAX + 1 }, '', /sum up to more/],
  [{ type: 'string', minLength: 2, maxLength: 1 }, '', /less than the least/],
  [{ type: 'string', minLength: 'x' }, '/minLength', /whole number/],
  [{ enum: Array.from({ length: ENUM_VALUES_MAX + 1 }, (_, index) => index) }, '', /lists more than/],
  [{ enum: ['x'.repeat(300)] }, '', /more than 256 characters/],
  [
    object(Object.fromEntries(Array.from({ length: PROPERTIES_MAX + 1 }, (_, index) => [`p${index}`, {}]))),
    '/properties',
    /more than 100 properties/,
  ],
  [JSON.parse('{"type":"object","properties":{"__proto__":{}}}') as JsonObject, '/properties', /__proto__/],
  [{ type: 'object', required: ['a'], additionalProperties: false }, '/required', /neither declared/],
  [{ anyOf: Array.from({ length: SHAPES_MAX + 1 }, () => ({})) }, '', /more than 1000 parts/],
  [{ 'x~y/z': 1 }, '/x~0y~1z', /not supported/],
];

describe('answer schemas', () => {
  test.each(ACCEPTED.map((schema) => [JSON.stringify(schema).slice(0, 80), schema] as const))(
    '%s is accepted, and its example validates',
    (_text, schema) => {
      expect(checkAnswerSchema(schema)).toBeNull();
      expect(isValid(schema, exampleOf(schema))).toBe(true);
    },
  );

  test.each(REFUSED.map((row) => [JSON.stringify(row[0]).slice(0, 80), row] as const))(
    '%s is refused where and why',
    (_text, [schema, path, reason]) => {
      const refusal = checkAnswerSchema(schema);
      expect(refusal?.reason).toMatch(reason);
      if (path !== '') expect(refusal?.path).toBe(path);
    },
  );

  test('schemas of any depth are refused without exhausting the stack', () => {
    expect(checkAnswerSchema(nested(SCHEMA_DEPTH_MAX - 2))).toBeNull();
    expect(checkAnswerSchema(nested(SCHEMA_DEPTH_MAX - 1))?.reason).toMatch(/levels deep/);
    expect(checkAnswerSchema(nested(60_000))?.reason).toMatch(/levels deep/);
  });

  test('a few definitions that double each other are refused before anything is expanded', () => {
    const $defs: Record<string, JsonValue> = { d0: { type: 'string' } };
    for (let level = 1; level <= 60; level += 1)
      $defs[`d${level}`] = object({ a: { $ref: `#/$defs/d${level - 1}` }, b: { $ref: `#/$defs/d${level - 1}` } });
    expect(checkAnswerSchema({ $ref: '#/$defs/d60', $defs })?.reason).toMatch(/even the smallest answer/);
    expect(checkAnswerSchema({ anyOf: [{ $ref: '#/$defs/d60' }, { type: 'null' }], $defs })).toBeNull();
  });

  test('hostile schemas of the greatest size are judged quickly', () => {
    const count = SHAPES_MAX - 2;
    const chain: Record<string, JsonValue> = {};
    for (let index = 0; index < count; index += 1)
      chain[`d${index}`] = index === 0 ? { type: 'null' } : { type: 'array', minItems: 0, items: { $ref: `#/$defs/d${index - 1}` } };
    const hostile: JsonObject[] = [
      { $ref: `#/$defs/d${count / 2 - 10}`, $defs: chain },
      { oneOf: Array.from({ length: 400 }, (_, index) => object({ kind: { const: index } })) },
      { oneOf: Array.from({ length: 90 }, () => ({ anyOf: Array.from({ length: 10 }, () => ({ type: 'string' })) })) },
      { anyOf: Array.from({ length: 900 }, () => ({ $ref: '#' })) },
    ];
    const startedAt = performance.now();
    for (const schema of hostile) checkAnswerSchema(schema);
    expect(performance.now() - startedAt).toBeLessThan(500);
  });

  test('arguments and strict answers must be objects', () => {
    expect(checkObjectSchema({})).toBeNull();
    expect(checkObjectSchema({ anyOf: [object({}), { type: 'object' }] })).toBeNull();
    expect(checkObjectSchema({ type: 'string' })?.reason).toMatch(/objects/);
    expect(checkObjectSchema({ type: ['object', 'null'] })?.reason).toMatch(/objects/);
  });

  test('whatever is accepted has an example that validates', () => {
    let accepted = 0;
    fc.assert(
      fc.property(anySchema, (schema) => {
        const refusal = checkAnswerSchema(schema);
        if (refusal !== null) {
          expect(refusal.reason).not.toBe('');
          return;
        }
        accepted += 1;
        expect(isValid(schema, exampleOf(schema))).toBe(true);
      }),
      { numRuns: 200 },
    );
    expect(accepted).toBeGreaterThan(50);
  });
});

const name = fc.constantFrom('a', 'b', 'c/d', 'e"f', '');
const small = fc.integer({ min: 0, max: 4 });
const bound = fc.oneof(fc.integer({ min: -20, max: 20 }), fc.constantFrom(0.5, -1.25, 3.000001));
const optional = { requiredKeys: [] };

const { schema: anySchema } = fc.letrec<{ schema: JsonObject }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 4 },
    fc.record({ type: fc.constantFrom('boolean', 'null', 'string', 'integer', 'number', 'array', 'object') }),
    fc.record({ type: fc.constant('string'), minLength: small, maxLength: small }, optional),
    fc.record(
      { type: fc.constantFrom('integer', 'number'), minimum: bound, maximum: bound, exclusiveMinimum: bound, exclusiveMaximum: bound },
      optional,
    ),
    fc.record(
      { enum: fc.array(fc.jsonValue({ maxDepth: 2 }), { maxLength: 4 }), type: fc.constantFrom('string', 'integer', 'object') },
      { requiredKeys: ['enum'] },
    ),
    fc.record({ type: fc.constant('array'), items: tie('schema'), minItems: small, maxItems: small }, optional),
    fc.record(
      {
        type: fc.constant('object'),
        properties: fc.dictionary(name, tie('schema'), { maxKeys: 4 }),
        required: fc.uniqueArray(name),
        additionalProperties: fc.boolean(),
      },
      optional,
    ),
    fc.record({ anyOf: fc.array(tie('schema'), { minLength: 1, maxLength: 3 }) }),
    fc.record({ oneOf: fc.array(tie('schema'), { minLength: 1, maxLength: 3 }) }),
    fc.constant({ $ref: '#' }),
  ) as fc.Arbitrary<JsonObject>,
}));
