/** Which JSON Schemas an answer or a tool's arguments can be held to exactly, and a smallest answer to each. Pure. */
import { type AnswerShapes, readAnswerShapes, type SchemaRefusal, type Shape, type ShapeId, type StringFormat } from './answer-shape.js';
import type { JsonObject, JsonValue } from './envelope.js';

/**
 * `null` when a grammar can hold the output to this schema. Otherwise the first thing that is not supported, by name: better no answer than
 * one that may not validate. Bounded work on any input.
 */
export function checkAnswerSchema(schema: JsonObject): SchemaRefusal | null {
  const shapes = readAnswerShapes(schema);
  return 'reason' in shapes ? shapes : null;
}

/** As `checkAnswerSchema`, for what must be an object: the arguments of a tool, and the answer of a strict schema. */
export function checkObjectSchema(schema: JsonObject): SchemaRefusal | null {
  const shapes = readAnswerShapes(schema);
  if ('reason' in shapes) return shapes;
  if (objectShape(shapes) === null) return { path: '/type', reason: 'the schema must be one of objects: `"type": "object"`' };
  return null;
}

/** The shape of the object that the root stands for, `null` when it may be something else. `{}` is taken as any object. */
export function objectShape({ root, shapes }: AnswerShapes): Shape | null {
  const shape = shapes[root];
  if (shape?.kind === 'any') return { kind: 'map', values: root };
  const reached = new Set<ShapeId>([root]);
  for (const id of reached) {
    const one = shapes[id];
    if (one?.kind === 'union') for (const choice of one.choices) reached.add(choice);
    else if (one?.kind !== 'object' && one?.kind !== 'map') return null;
  }
  return shape ?? null;
}

/** A smallest value that validates. Throws for a schema that `checkAnswerSchema` refuses. */
export function exampleOf(schema: JsonObject): JsonValue {
  const shapes = readAnswerShapes(schema);
  if ('reason' in shapes) throw new Error(`the schema is refused at ${shapes.path}: ${shapes.reason}`);
  return exampleOfShape(shapes, shapes.root);
}

/** A smallest value of one shape. Recursive: the size of the result, and so its depth, is bounded by `SMALLEST_ANSWER_CHARACTERS_MAX`. */
export function exampleOfShape(all: AnswerShapes, id: ShapeId): JsonValue {
  const shape = all.shapes[id];
  switch (shape?.kind) {
    case undefined:
    case 'any':
    case 'null':
      return null;
    case 'boolean':
      return false;
    case 'values':
      return shape.values.reduce((least, value) => (JSON.stringify(value).length < JSON.stringify(least).length ? value : least));
    case 'string':
      return 'a'.repeat(shape.lengthMin);
    case 'format':
      return FORMAT_EXAMPLES[shape.format];
    case 'number':
    case 'integer':
      return 0;
    case 'range':
      return Math.min(Math.max(0, shape.least), shape.most) / 10 ** shape.fractionDigits;
    case 'array':
      return Array.from({ length: shape.itemsMin }, () => exampleOfShape(all, shape.items));
    case 'object': {
      const required = shape.properties.filter(({ isRequired }) => isRequired);
      return Object.fromEntries(required.map((property) => [property.name, exampleOfShape(all, property.shape)]));
    }
    case 'map':
      return {};
    case 'union': {
      const size = (choice: ShapeId) => all.sizes[choice] ?? Number.POSITIVE_INFINITY;
      return exampleOfShape(
        all,
        shape.choices.reduce((least, choice) => (size(choice) < size(least) ? choice : least)),
      );
    }
  }
}

const FORMAT_EXAMPLES: Record<StringFormat, string> = {
  date: '2000-01-01',
  time: '00:00:00Z',
  'date-time': '2000-01-01T00:00:00Z',
  uuid: '00000000-0000-4000-8000-000000000000',
  ipv4: '127.0.0.1',
  email: 'a@example.com',
};
