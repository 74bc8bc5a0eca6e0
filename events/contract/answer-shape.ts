/**
 * What a JSON Schema lets an answer be, in the few forms that a grammar can hold a model to. Every value of a shape validates against its
 * schema; where a schema admits more than its shape says (other properties, keys of objects that need not be named), that is not generated.
 * Shapes refer to each other by number, so they may be recursive. Work and memory are linear in a schema whose size is bounded first.
 */
import type { JsonObject, JsonValue } from './envelope.js';
import {
  areDisjoint,
  circularShape,
  DISJOINT_DEPTH_MAX,
  DISJOINT_STEPS_MAX,
  type Look,
  smallestSizes,
  TYPES,
  type TypeName,
  typeName,
  withoutEndless,
} from './shape-analysis.js';

/** Where in the schema, as a JSON pointer, and why it is refused. */
export type SchemaRefusal = { readonly path: string; readonly reason: string };

export type ShapeId = number;

/** Formats that have a grammar. Others are refused: nothing would hold the text to them. */
export const STRING_FORMATS = ['date', 'time', 'date-time', 'uuid', 'ipv4', 'email'] as const;
export type StringFormat = (typeof STRING_FORMATS)[number];

/** Digits behind the point of a number that has bounds: bounds and answers are multiples of 10 to the minus this. */
export const BOUNDED_FRACTION_DIGITS = 6;

export type Shape =
  | { readonly kind: 'any' }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'null' }
  /** One of these. */
  | { readonly kind: 'values'; readonly values: readonly JsonValue[] }
  /** Lengths in code points. */
  | { readonly kind: 'string'; readonly lengthMin: number; readonly lengthMax: number | null }
  | { readonly kind: 'format'; readonly format: StringFormat }
  | { readonly kind: 'number' }
  | { readonly kind: 'integer' }
  /** `least` to `most`, whole numbers, divided by 10 to the power of `fractionDigits`. */
  | { readonly kind: 'range'; readonly least: number; readonly most: number; readonly fractionDigits: number }
  | { readonly kind: 'array'; readonly items: ShapeId; readonly itemsMin: number; readonly itemsMax: number | null }
  /** In this order. */
  | { readonly kind: 'object'; readonly properties: readonly PropertyShape[] }
  /** Any names. */
  | { readonly kind: 'map'; readonly values: ShapeId }
  | { readonly kind: 'union'; readonly choices: readonly ShapeId[] };

export type PropertyShape = { readonly name: string; readonly shape: ShapeId; readonly isRequired: boolean };

/** `sizes[id]`: characters of about the smallest value of a shape. Every shape that can be reached from `root` has a finite one. */
export type AnswerShapes = { readonly root: ShapeId; readonly shapes: readonly Shape[]; readonly sizes: readonly number[] };

/** Characters of all names and texts, before anything else looks at the schema. */
export const SCHEMA_CHARACTERS_MAX = 65_536;
/** JSON values in the schema. */
export const SCHEMA_VALUES_MAX = 20_000;
/** Nesting of the JSON that the schema is written in. */
export const SCHEMA_DEPTH_MAX = 32;
/** Shapes, after references were followed: a grammar has about three rules for each. */
export const SHAPES_MAX = 1_000;
/** Of one object: llama.cpp tries each name that may come next on its own. */
export const PROPERTIES_MAX = 100;
/** Values of all enumerations together, and characters of one of them. */
export const ENUM_VALUES_MAX = 500;
export const ENUM_CHARACTERS_MAX = 256;
/** Sum of all bounds of lengths and numbers of items: a grammar spells repetitions out. */
export const REPETITIONS_MAX = 4_096;
/** Of the smallest valid answer: what needs more can only end unfinished. */
export const SMALLEST_ANSWER_CHARACTERS_MAX = 16_384;

const INTEGER_MAX = 999_999_999_999_999;
const BOUNDED_NUMBER_MAX = 999_999_999;

const ANNOTATIONS = new Set([
  'title',
  'description',
  'default',
  'example',
  'examples',
  '$schema',
  '$comment',
  'deprecated',
  'readOnly',
  'writeOnly',
  '$defs',
  'definitions',
]);
const OBJECT_KEYWORDS = ['properties', 'required', 'additionalProperties'] as const;
const ARRAY_KEYWORDS = ['items', 'minItems', 'maxItems', 'uniqueItems'] as const;
const STRING_KEYWORDS = ['minLength', 'maxLength', 'format'] as const;
const NUMBER_KEYWORDS = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'] as const;
const CHOICE_KEYWORDS = ['enum', 'const', 'anyOf', 'oneOf', 'allOf', '$ref'] as const;
const KNOWN = new Set<string>([
  ...ANNOTATIONS,
  '$id',
  'type',
  ...OBJECT_KEYWORDS,
  ...ARRAY_KEYWORDS,
  ...STRING_KEYWORDS,
  ...NUMBER_KEYWORDS,
  ...CHOICE_KEYWORDS,
]);

/** Thrown inside this file only; `readAnswerShapes` returns it as a value. */
class Refused extends Error {
  constructor(readonly refusal: SchemaRefusal) {
    super(refusal.reason);
  }
}

function refuse(path: string, reason: string): never {
  throw new Refused({ path, reason });
}

export function readAnswerShapes(schema: JsonObject): AnswerShapes | SchemaRefusal {
  try {
    requireBounded(schema);
    const reader = new ShapeReader(schema);
    const shapes = reader.readAll();
    const circular = circularShape(shapes);
    if (circular !== null) refuse(reader.paths[circular] ?? '', 'the reference leads back to itself');
    const sizes = smallestSizes(shapes);
    const size = sizes[0] ?? Number.POSITIVE_INFINITY;
    if (size === Number.POSITIVE_INFINITY) refuse('', 'every answer would have to contain itself');
    if (size > SMALLEST_ANSWER_CHARACTERS_MAX) {
      refuse('', `even the smallest answer has more than ${SMALLEST_ANSWER_CHARACTERS_MAX} characters`);
    }
    return { root: 0, shapes: shapes.map((shape) => withoutEndless(shape, sizes, SMALLEST_ANSWER_CHARACTERS_MAX)), sizes };
  } catch (error) {
    if (error instanceof Refused) return error.refusal;
    throw error;
  }
}

/** Without recursion: nothing is known about the depth yet. */
function requireBounded(schema: JsonObject): void {
  let level: JsonValue[] = [schema];
  let values = 0;
  let characters = 0;
  for (let depth = 1; level.length > 0; depth += 1) {
    if (depth > SCHEMA_DEPTH_MAX) refuse('', `the schema is nested more than ${SCHEMA_DEPTH_MAX} levels deep`);
    const next: JsonValue[] = [];
    for (const value of level) {
      values += 1;
      if (typeof value === 'string') characters += value.length;
      else if (Array.isArray(value)) for (const item of value as readonly JsonValue[]) next.push(item);
      else if (typeof value === 'object' && value !== null) {
        for (const [name, inner] of Object.entries(value)) {
          characters += name.length;
          next.push(inner);
        }
      }
      if (values + next.length > SCHEMA_VALUES_MAX) refuse('', `the schema has more than ${SCHEMA_VALUES_MAX} values`);
      if (characters > SCHEMA_CHARACTERS_MAX) refuse('', `the schema has more than ${SCHEMA_CHARACTERS_MAX} characters`);
    }
    level = next;
  }
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function pointerPart(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

class ShapeReader {
  readonly #root: JsonObject;
  readonly #shapes: (Shape | undefined)[] = [];
  readonly paths: string[] = [];
  readonly #waiting: { readonly id: ShapeId; readonly schema: JsonValue; readonly path: string }[] = [];
  readonly #references = new Map<string, ShapeId>();
  /** Alternatives of a `oneOf`, compared when all shapes are known. */
  readonly #exclusive: { readonly ids: readonly ShapeId[]; readonly path: string }[] = [];
  /** Shapes whose schema admits values of other types, because it names none. */
  readonly #open = new Set<ShapeId>();
  #enumValues = 0;
  #repetitions = 0;

  constructor(root: JsonObject) {
    this.#root = root;
  }

  readAll(): readonly Shape[] {
    this.#references.set('#', this.#later(this.#root, ''));
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      this.#shapes[next.id] = this.#read(next.schema, next.path, next.id);
    }
    const shapes = this.#shapes as readonly Shape[];
    for (const { ids, path } of this.#exclusive) this.#requireDisjoint(shapes, ids, path);
    return shapes;
  }

  #later(schema: JsonValue, path: string): ShapeId {
    const id = this.#add(undefined, path);
    this.#waiting.push({ id, schema, path });
    return id;
  }

  #add(shape: Shape | undefined, path: string): ShapeId {
    if (this.#shapes.length === SHAPES_MAX) refuse(path, `the schema has more than ${SHAPES_MAX} parts`);
    this.paths.push(path);
    return this.#shapes.push(shape) - 1;
  }

  #read(schema: JsonValue, path: string, id: ShapeId): Shape {
    if (schema === true) return { kind: 'any' };
    if (schema === false) refuse(path, 'a schema of `false` admits nothing');
    if (!isObject(schema)) refuse(path, 'a schema is an object or a boolean');
    const keywords = Object.keys(schema).filter((name) => !ANNOTATIONS.has(name) && !(name === '$id' && path === ''));
    for (const name of keywords) {
      if (!KNOWN.has(name) || name === '$id')
        refuse(`${path}/${pointerPart(name)}`, `the keyword \`${name.slice(0, 40)}\` is not supported`);
    }
    const choice = CHOICE_KEYWORDS.find((name) => schema[name] !== undefined);
    if (choice === undefined) return this.#readTypes(schema, path, id);
    const allowed = choice === 'enum' || choice === 'const' ? ['enum', 'const', 'type'] : [choice];
    const other = keywords.find((name) => !allowed.includes(name));
    if (other !== undefined) refuse(`${path}/${other}`, `\`${other}\` beside \`${choice}\` is not supported`);
    switch (choice) {
      case 'enum':
      case 'const':
        return this.#readValues(schema, path);
      case '$ref':
        return { kind: 'union', choices: [this.#readReference(schema['$ref'], `${path}/$ref`)] };
      case 'anyOf':
      case 'oneOf':
      case 'allOf':
        return this.#readAlternatives(choice, schema[choice], `${path}/${choice}`);
    }
  }

  #readAlternatives(keyword: 'anyOf' | 'oneOf' | 'allOf', alternatives: JsonValue | undefined, path: string): Shape {
    if (!Array.isArray(alternatives) || alternatives.length === 0) refuse(path, `\`${keyword}\` is a list of at least one schema`);
    if (keyword === 'allOf' && alternatives.length > 1) refuse(path, '`allOf` of more than one schema is not supported');
    const choices = (alternatives as readonly JsonValue[]).map((schema, index) => this.#later(schema, `${path}/${index}`));
    if (keyword === 'oneOf' && choices.length > 1) this.#exclusive.push({ ids: choices, path });
    return { kind: 'union', choices };
  }

  #readReference(reference: JsonValue | undefined, path: string): ShapeId {
    if (typeof reference !== 'string') refuse(path, '`$ref` is a text');
    const known = this.#references.get(reference);
    if (known !== undefined) return known;
    const match = /^#\/(\$defs|definitions)\/([^/~%]+)$/.exec(reference);
    const keyword = match?.[1] ?? '';
    const name = match?.[2] ?? '';
    const definitions = this.#root[keyword];
    if (match === null || !isObject(definitions) || !Object.hasOwn(definitions, name)) {
      refuse(path, '`$ref` must be `#`, `#/$defs/<name>` or `#/definitions/<name>` and name a definition of this schema');
    }
    const id = this.#later(definitions[name] ?? null, `/${keyword}/${name}`);
    this.#references.set(reference, id);
    return id;
  }

  #readValues(schema: JsonObject, path: string): Shape {
    const { enum: listed, const: only } = schema;
    if (listed !== undefined && !Array.isArray(listed)) refuse(`${path}/enum`, '`enum` is a list');
    const types = typesOf(schema, path);
    const candidates = (listed as readonly JsonValue[] | undefined) ?? [only as JsonValue];
    this.#enumValues += candidates.length;
    if (this.#enumValues > ENUM_VALUES_MAX) refuse(path, `the schema lists more than ${ENUM_VALUES_MAX} values`);
    const byText = new Map<string, JsonValue>();
    for (const value of candidates) {
      const text = JSON.stringify(value);
      if (text.length > ENUM_CHARACTERS_MAX) refuse(path, `a listed value has more than ${ENUM_CHARACTERS_MAX} characters`);
      if (types !== null && !types.some((type) => isOfType(value, type))) continue;
      if (only === undefined || text === JSON.stringify(only)) byText.set(text, value);
    }
    if (byText.size === 0) refuse(path, 'no listed value can be given');
    return { kind: 'values', values: [...byText.values()] };
  }

  #readTypes(schema: JsonObject, path: string, id: ShapeId): Shape {
    const named = typesOf(schema, path);
    const types = named ?? impliedTypes(schema);
    if (named === null) this.#open.add(id);
    if (types.length === 0) return { kind: 'any' };
    const [first] = types;
    if (types.length === 1 && first !== undefined) return this.#readType(first, schema, path);
    const choices = types.map((type) => this.#add(this.#readType(type, schema, path), path));
    return { kind: 'union', choices };
  }

  #readType(type: TypeName, schema: JsonObject, path: string): Shape {
    switch (type) {
      case 'boolean':
      case 'null':
        return { kind: type };
      case 'string':
        return this.#readString(schema, path);
      case 'number':
      case 'integer':
        return readNumber(type, schema, path);
      case 'array':
        return this.#readArray(schema, path);
      case 'object':
        return this.#readObject(schema, path);
    }
  }

  #readString(schema: JsonObject, path: string): Shape {
    const lengthMin = count(schema['minLength'], `${path}/minLength`) ?? 0;
    const lengthMax = count(schema['maxLength'], `${path}/maxLength`);
    const { format } = schema;
    if (format !== undefined) {
      const known = STRING_FORMATS.find((name) => name === format);
      if (known === undefined) refuse(`${path}/format`, `the format is not supported; there are ${STRING_FORMATS.join(', ')}`);
      if (schema['minLength'] !== undefined || lengthMax !== null) refuse(path, 'lengths beside `format` are not supported');
      return { kind: 'format', format: known };
    }
    this.#repeat(lengthMin, lengthMax, path);
    return { kind: 'string', lengthMin, lengthMax };
  }

  #readArray(schema: JsonObject, path: string): Shape {
    const itemsMin = count(schema['minItems'], `${path}/minItems`) ?? 0;
    const itemsMax = count(schema['maxItems'], `${path}/maxItems`);
    if (schema['uniqueItems'] !== undefined && schema['uniqueItems'] !== false) {
      refuse(`${path}/uniqueItems`, 'the keyword `uniqueItems` is not supported');
    }
    this.#repeat(itemsMin, itemsMax, path);
    return { kind: 'array', items: this.#later(schema['items'] ?? true, `${path}/items`), itemsMin, itemsMax };
  }

  #repeat(min: number, max: number | null, path: string): void {
    if (max !== null && max < min) refuse(path, 'the greatest length is less than the least');
    this.#repetitions += max ?? min;
    if (this.#repetitions > REPETITIONS_MAX) refuse(path, `the lengths of the schema sum up to more than ${REPETITIONS_MAX}`);
  }

  #readObject(schema: JsonObject, path: string): Shape {
    const { properties = {}, required = [], additionalProperties = true } = schema;
    if (!isObject(properties)) refuse(`${path}/properties`, '`properties` is an object');
    if (!Array.isArray(required) || !required.every((name) => typeof name === 'string')) {
      refuse(`${path}/required`, '`required` is a list of names');
    }
    const names = new Set([...Object.keys(properties), ...(required as readonly string[])]);
    if (names.size === 0) {
      if (additionalProperties === false) return { kind: 'object', properties: [] };
      return { kind: 'map', values: this.#later(additionalProperties, `${path}/additionalProperties`) };
    }
    if (names.size > PROPERTIES_MAX) refuse(`${path}/properties`, `an object has more than ${PROPERTIES_MAX} properties`);
    const isRequired = new Set(required as readonly string[]);
    const shapes = [...names].map((name) => {
      // Objects cannot carry it safely, and validators disagree about it.
      if (name === '__proto__') refuse(`${path}/properties`, 'a property cannot be called `__proto__`');
      const isDeclared = Object.hasOwn(properties, name);
      const place = isDeclared ? `${path}/properties/${pointerPart(name)}` : `${path}/additionalProperties`;
      if (!isDeclared && additionalProperties === false) refuse(`${path}/required`, 'a required property is neither declared nor allowed');
      const inner = isDeclared ? properties[name] : additionalProperties;
      // An optional property that nothing can be is one that is never given.
      if (inner === false && !isRequired.has(name)) return null;
      return { name, shape: this.#later(inner ?? null, place), isRequired: isRequired.has(name) };
    });
    return { kind: 'object', properties: shapes.filter((shape) => shape !== null) };
  }

  #requireDisjoint(shapes: readonly Shape[], ids: readonly ShapeId[], path: string): void {
    const look: Look = { shapes, open: this.#open, stepsLeft: DISJOINT_STEPS_MAX };
    for (const [index, a] of ids.entries()) {
      for (const b of ids.slice(index + 1)) {
        if (!areDisjoint(look, a, b, DISJOINT_DEPTH_MAX)) refuse(path, MAY_OVERLAP);
      }
    }
  }
}

const MAY_OVERLAP =
  'the alternatives of `oneOf` may overlap; give them different types or a required property with different values, or use `anyOf`';

function typesOf(schema: JsonObject, path: string): readonly TypeName[] | null {
  const { type } = schema;
  if (type === undefined) return null;
  const names = Array.isArray(type) ? (type as readonly JsonValue[]) : [type];
  const known = TYPES.filter((name) => names.includes(name));
  if (names.length === 0 || !names.every((name) => TYPES.some((one) => one === name)))
    refuse(`${path}/type`, `\`type\` is one or more of ${TYPES.join(', ')}`);
  return known.filter((name) => name !== 'integer' || !known.includes('number'));
}

/** A schema without `type` says something about values of some types; the answer is one of those. */
function impliedTypes(schema: JsonObject): readonly TypeName[] {
  const has = (keywords: readonly string[]) => keywords.some((name) => schema[name] !== undefined);
  const types: TypeName[] = [];
  if (has(OBJECT_KEYWORDS)) types.push('object');
  if (has(ARRAY_KEYWORDS)) types.push('array');
  if (has(STRING_KEYWORDS)) types.push('string');
  if (has(NUMBER_KEYWORDS)) types.push('number');
  return types;
}

function isOfType(value: JsonValue, type: TypeName): boolean {
  if (type === 'integer') return Number.isInteger(value);
  return typeName(value) === type;
}

function count(value: JsonValue | undefined, path: string): number | null {
  if (value === undefined) return null;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) refuse(path, 'a whole number of at least 0 is expected');
  return value;
}

function readNumber(type: 'number' | 'integer', schema: JsonObject, path: string): Shape {
  if (schema['multipleOf'] !== undefined && !(type === 'integer' && schema['multipleOf'] === 1)) {
    refuse(`${path}/multipleOf`, 'the keyword `multipleOf` is not supported');
  }
  if (NUMBER_KEYWORDS.every((name) => name === 'multipleOf' || schema[name] === undefined)) return { kind: type };
  const fractionDigits = type === 'integer' ? 0 : BOUNDED_FRACTION_DIGITS;
  const limit = type === 'integer' ? INTEGER_MAX : BOUNDED_NUMBER_MAX;
  const scale = 10 ** fractionDigits;
  const bound = (name: (typeof NUMBER_KEYWORDS)[number]): number | null => {
    const value = schema[name];
    if (value === undefined) return null;
    if (typeof value !== 'number') refuse(`${path}/${name}`, `\`${name}\` is a number`);
    if (Math.abs(value) > limit) refuse(`${path}/${name}`, `\`${name}\` may be at most ${limit} from 0`);
    if (type === 'number' && Math.round(value * scale) / scale !== value) {
      refuse(`${path}/${name}`, `\`${name}\` may have at most ${fractionDigits} digits behind the point`);
    }
    return value;
  };
  const minimum = bound('minimum') ?? -limit;
  const maximum = bound('maximum') ?? limit;
  const above = bound('exclusiveMinimum');
  const below = bound('exclusiveMaximum');
  // `scaled` is exact: bounds of numbers have few enough digits, and those of integers are not scaled.
  const scaled = (value: number) => (type === 'integer' ? value : Math.round(value * scale));
  const least = Math.max(Math.ceil(scaled(minimum)), above === null ? Number.NEGATIVE_INFINITY : Math.floor(scaled(above)) + 1);
  const most = Math.min(Math.floor(scaled(maximum)), below === null ? Number.POSITIVE_INFINITY : Math.ceil(scaled(below)) - 1);
  if (least > most) refuse(path, 'no number lies within these bounds');
  return { kind: 'range', least, most, fractionDigits };
}
