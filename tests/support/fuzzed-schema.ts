/** JSON Schemas and tools that somebody might send to be held to: half-sensible, deep, wide, circular, with patterns that explode. */
import type { SeededRandom } from './seeded-random.js';

const DEPTH_MAX = 5;
const PATTERNS = [
  '^a+$',
  '(a+)+$',
  '('.repeat(200) + ')'.repeat(200),
  '(?:a{0,1000}){0,1000}',
  '[',
  '(?=x)',
  '\\\\p{L}*',
  '.{1000000}',
  '\\u0000',
];
const REFERENCES = ['#', '#/$defs/a', '#/properties/x', 'http://169.254.169.254/', '#/__proto__', ''];

export function hostileSchema(random: SeededRandom, texts: readonly string[], depth = DEPTH_MAX): unknown {
  const inner = () => hostileSchema(random, texts, depth - 1);
  const some = <Made>(make: () => Made, countMax = 4) => Array.from({ length: random.below(countMax) }, make);
  const named = () => Object.fromEntries(some(() => [random.pick([...texts, 'x', 'y', 'a']), inner()] as const));
  switch (random.below(depth > 0 ? 9 : 5)) {
    case 0:
      return { type: 'string', ...(random.chance(0.5) ? { pattern: random.pick(PATTERNS) } : { maxLength: random.below(100_000) }) };
    case 1:
      return { type: random.pick(['integer', 'number', 'boolean', 'null', 'nothing']), minimum: random.below(10) };
    case 2:
      return { enum: some(() => random.pick(texts), 50) };
    case 3:
      return { $ref: random.pick(REFERENCES) };
    case 4:
      return random.pick<unknown>([{}, true, false, null, [], 'string', { not: {} }, { type: [] }]);
    case 5:
      return { type: 'array', items: inner(), minItems: random.below(3), maxItems: random.pick([1, 5, 1e6, 2 ** 53]) };
    case 6:
      return { [random.pick(['anyOf', 'oneOf', 'allOf'])]: some(inner, 6) };
    case 7:
      return { $defs: { a: inner() }, type: 'object', properties: { x: { $ref: '#/$defs/a' } } };
    default:
      return {
        type: 'object',
        properties: named(),
        required: some(() => random.pick(['x', 'y', 'z'])),
        additionalProperties: random.chance(0.5),
      };
  }
}

export function hostileTools(random: SeededRandom, texts: readonly string[]): unknown {
  const name = () => (random.chance(0.7) ? `tool_${random.below(4)}` : random.pick([...texts, 'a\u0007b', 'x'.repeat(65)]));
  return Array.from({ length: random.below(4) }, () => ({
    type: random.chance(0.95) ? 'function' : random.pick(texts),
    function: { name: name(), description: random.pick(texts), parameters: hostileSchema(random, texts), strict: random.chance(0.3) },
  }));
}
