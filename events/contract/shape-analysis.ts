/** What shapes (answer-shape.ts) are to each other: which exclude each other, which go in circles, and how small their values can be. */

import type { Shape, ShapeId } from './answer-shape.js';
import type { JsonValue } from './envelope.js';

export const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const;
export type TypeName = (typeof TYPES)[number];

export function typeName(value: JsonValue): TypeName {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value as 'object' | 'string' | 'number' | 'boolean';
}

/** Discriminators stand one or two levels down. */
export const DISJOINT_DEPTH_MAX = 4;
export const DISJOINT_STEPS_MAX = 50_000;

export type Look = { readonly shapes: readonly Shape[]; readonly open: ReadonlySet<ShapeId>; stepsLeft: number };

/** Whether no value of one alternative can validate against the other; `false` where that takes more than a look. */
export function areDisjoint(look: Look, a: ShapeId, b: ShapeId, depth: number): boolean {
  const { shapes, open } = look;
  const first = shapes[a];
  const second = shapes[b];
  if (first === undefined || second === undefined || depth === 0 || a === b || open.has(a) || open.has(b)) return false;
  look.stepsLeft -= 1 + weightOf(first) + weightOf(second);
  if (look.stepsLeft < 0) return false;
  if (first.kind === 'union') return first.choices.every((choice) => areDisjoint(look, choice, b, depth - 1));
  if (second.kind === 'union') return second.choices.every((choice) => areDisjoint(look, a, choice, depth - 1));
  const types = typesOfShape(first);
  if (!typesOfShape(second).some((type) => types.includes(type))) return true;
  if (first.kind === 'values' && second.kind === 'values') {
    const texts = new Set(first.values.map((value) => JSON.stringify(value)));
    // Objects may be equal and written differently, so they count as the same.
    return second.values.every((value) => !texts.has(JSON.stringify(value)) && (typeof value !== 'object' || value === null));
  }
  if (first.kind !== 'object' || second.kind !== 'object') return false;
  const others = new Map(second.properties.map((property) => [property.name, property]));
  return first.properties.some(({ name, shape, isRequired }) => {
    const other = others.get(name);
    return isRequired && other?.isRequired === true && areDisjoint(look, shape, other.shape, depth - 1);
  });
}

function weightOf(shape: Shape): number {
  if (shape.kind === 'values') return shape.values.length;
  return shape.kind === 'object' ? shape.properties.length : 0;
}

function typesOfShape(shape: Shape): readonly TypeName[] {
  switch (shape.kind) {
    case 'any':
    case 'union':
      return TYPES;
    case 'values':
      return shape.values.map(typeName);
    case 'format':
      return ['string'];
    case 'integer':
    case 'range':
      return ['number'];
    case 'map':
      return ['object'];
    case 'boolean':
    case 'null':
    case 'string':
    case 'number':
    case 'array':
    case 'object':
      return [shape.kind];
  }
}

/** An alternative or reference that leads back to itself without a character in between, where a grammar would never get on; or `null`. */
export function circularShape(shapes: readonly Shape[]): ShapeId | null {
  const waitsFor = shapes.map((shape) => (shape.kind === 'union' ? shape.choices : []));
  const isDone = new Uint8Array(shapes.length);
  // Peels off what leads on to finished shapes only; whatever is left is part of, or leads into, a circle.
  const users: ShapeId[][] = shapes.map(() => []);
  const open = waitsFor.map((ids) => ids.length);
  for (const [id, ids] of waitsFor.entries()) for (const other of ids) users[other]?.push(id);
  const ready = open.flatMap((left, id) => (left === 0 ? [id] : []));
  for (let id = ready.pop(); id !== undefined; id = ready.pop()) {
    isDone[id] = 1;
    for (const user of users[id] ?? []) {
      open[user] = (open[user] ?? 0) - 1;
      if (open[user] === 0) ready.push(user);
    }
  }
  const stuck = isDone.indexOf(0);
  return stuck < 0 ? null : stuck;
}

/** Least fixpoint: sizes only fall, each round settles at least one shape, and it ends when a round changes nothing. */
export function smallestSizes(shapes: readonly Shape[]): number[] {
  const sizes = shapes.map(() => Number.POSITIVE_INFINITY);
  for (let hasChanged = true; hasChanged; ) {
    hasChanged = false;
    // Parts stand behind what they are part of, so going backwards settles most shapes at once.
    for (let id = shapes.length - 1; id >= 0; id -= 1) {
      const shape = shapes[id];
      if (sizes[id] !== Number.POSITIVE_INFINITY && !hasParts(shape)) continue;
      const size = sizeOf(shape, sizes);
      if (size < (sizes[id] ?? 0)) {
        sizes[id] = size;
        hasChanged = true;
      }
    }
  }
  return sizes;
}

function hasParts(shape: Shape | undefined): boolean {
  return shape?.kind === 'array' || shape?.kind === 'object' || shape?.kind === 'union';
}

function sizeOf(shape: Shape | undefined, sizes: readonly number[]): number {
  const of = (id: ShapeId) => sizes[id] ?? Number.POSITIVE_INFINITY;
  switch (shape?.kind) {
    case undefined:
      return Number.POSITIVE_INFINITY;
    case 'values':
      return shape.values.reduce<number>((least, value) => Math.min(least, JSON.stringify(value).length), Number.POSITIVE_INFINITY);
    case 'string':
      return 2 + shape.lengthMin;
    case 'array':
      return 2 + (shape.itemsMin === 0 ? 0 : shape.itemsMin * (of(shape.items) + 1));
    case 'object':
      return shape.properties.reduce((sum, { name, shape: id, isRequired }) => (isRequired ? sum + name.length + 4 + of(id) : sum), 2);
    case 'union':
      return shape.choices.reduce((least, id) => Math.min(least, of(id)), Number.POSITIVE_INFINITY);
    case 'any':
    case 'null':
      return 4;
    case 'boolean':
    case 'format':
    case 'number':
    case 'integer':
    case 'range':
      return 5;
    case 'map':
      return 2;
  }
}

/** Takes out what could be begun and never ended. */
export function withoutEndless(shape: Shape, sizes: readonly number[], sizeMax: number): Shape {
  const ends = (id: ShapeId) => (sizes[id] ?? 0) <= sizeMax;
  switch (shape.kind) {
    case 'union':
      return { kind: 'union', choices: shape.choices.filter(ends) };
    case 'object':
      return { kind: 'object', properties: shape.properties.filter(({ shape: id }) => ends(id)) };
    case 'array':
      return ends(shape.items) ? shape : { ...shape, itemsMax: 0 };
    case 'map':
      return ends(shape.values) ? shape : { kind: 'object', properties: [] };
    case 'any':
    case 'boolean':
    case 'null':
    case 'values':
    case 'string':
    case 'format':
    case 'number':
    case 'integer':
    case 'range':
      return shape;
  }
}
