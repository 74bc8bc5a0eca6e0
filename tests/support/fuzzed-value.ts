/** Values after a JSON Schema, or nearly: what a route says it takes, with now and then something that it does not. */
import type { SeededRandom } from './seeded-random.js';

export type JsonSchema = {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly allOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly examples?: readonly unknown[];
};

export type ValueSource = {
  readonly random: SeededRandom;
  /** `components.schemas` of the document. */
  readonly components: Readonly<Record<string, JsonSchema>>;
  /** Something hostile, instead of what the schema says. */
  readonly hostile: () => unknown;
  /** A text for a property, where one is better than noise: an id, a model. */
  readonly textFor: (property: string) => string;
};

/** Of each value, nested ones included: a body has about ten, so about every second one is as its schema says. */
const HOSTILE_CHANCE = 0.06;
const OPTIONAL_CHANCE = 0.25;
const ITEMS_MAX = 3;
/** Schemas may refer to themselves. */
const DEPTH_MAX = 8;

export function valueAfter(schema: JsonSchema, source: ValueSource, property = '', depth = 0): unknown {
  const { random, components } = source;
  if (depth > DEPTH_MAX || random.chance(HOSTILE_CHANCE)) return source.hostile();
  const next = (inner: JsonSchema, name = property) => valueAfter(inner, source, name, depth + 1);
  if (schema.$ref !== undefined) return next(components[schema.$ref.split('/').at(-1) ?? ''] ?? {});
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return random.pick(schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return next(random.pick(choices));
  if (schema.allOf !== undefined) return Object.assign({}, ...schema.allOf.map((part) => next(part)));
  const type = Array.isArray(schema.type) ? random.pick(schema.type as readonly string[]) : schema.type;
  switch (type) {
    case 'object':
      return objectAfter(schema, source, next);
    case 'array':
      return Array.from({ length: (schema.minItems ?? 0) + random.below(ITEMS_MAX) }, () => next(schema.items ?? {}));
    case 'string':
      return source.textFor(property);
    case 'integer':
      return numberAfter(schema, random, Math.floor);
    case 'number':
      return numberAfter(schema, random, (value) => value);
    case 'boolean':
      return random.chance(0.5);
    case 'null':
      return null;
    default:
      return random.chance(0.5) ? source.textFor(property) : source.hostile();
  }
}

function objectAfter(
  { properties = {}, required = [] }: JsonSchema,
  { random }: ValueSource,
  next: (schema: JsonSchema, name: string) => unknown,
): Readonly<Record<string, unknown>> {
  const value: Record<string, unknown> = {};
  for (const [name, property] of Object.entries(properties)) {
    if (required.includes(name) || random.chance(OPTIONAL_CHANCE)) value[name] = next(property, name);
  }
  return value;
}

/** Within the bounds, and at most a hundred above the lower one, so that what runs is short. */
function numberAfter({ minimum = 0, maximum }: JsonSchema, random: SeededRandom, rounded: (value: number) => number): number {
  const lowest = Math.max(minimum, -100);
  const span = Math.min((maximum ?? lowest + 100) - lowest, 100);
  return rounded(lowest + (random.below(1_000) / 1_000) * span);
}
