/** The grammar of the values that a schema's shapes allow (events/contract/answer-shape.ts). One rule or a few for each shape. */
import type { AnswerShapes, PropertyShape, Shape, ShapeId, StringFormat } from '../../../../events/contract/index.js';
import { type GrammarRules, literal, oneOf } from './grammar-rules.js';
import { rangeExpression } from './number-range.js';

/** Adds the rules of all shapes under names that begin with `prefix` and returns the root's. */
export function addShapes(rules: GrammarRules, { root, shapes }: AnswerShapes, prefix: string): string {
  const nameOf = (id: ShapeId) => `${prefix}${id}`;
  for (const [id, shape] of shapes.entries()) rules.set(nameOf(id), expressionOf(rules, shape, nameOf, nameOf(id)));
  return nameOf(root);
}

/** The rule's expression for the object that a tool's arguments are, also where the schema would allow more. */
export function addObject(rules: GrammarRules, all: AnswerShapes, shape: Shape, prefix: string): string {
  const root = addShapes(rules, all, prefix);
  return shape.kind === 'map' && shape.values === all.root ? rules.set(`${prefix}object`, rules.map(rules.free)) : root;
}

function expressionOf(rules: GrammarRules, shape: Shape, nameOf: (id: ShapeId) => string, name: string): string {
  switch (shape.kind) {
    case 'any':
      return rules.free;
    case 'boolean':
    case 'number':
    case 'integer':
      return shape.kind;
    case 'null':
      return '"null"';
    case 'values':
      return oneOf(shape.values.map((value) => JSON.stringify(value)));
    case 'string':
      return shape.lengthMin === 0 && shape.lengthMax === null
        ? 'string'
        : `"\\"" ${rules.repeat('char', shape.lengthMin, shape.lengthMax)} "\\""`;
    case 'format':
      return `"\\"" ( ${FORMATS[shape.format]} ) "\\""`;
    case 'range':
      return rangeExpression(shape.least, shape.most, shape.fractionDigits);
    case 'array':
      return rules.list(nameOf(shape.items), shape.itemsMin, shape.itemsMax);
    case 'object':
      return objectExpression(rules, shape.properties, nameOf, name);
    case 'map':
      return rules.map(nameOf(shape.values));
    case 'union':
      return shape.choices.map(nameOf).join(' | ');
  }
}

/**
 * Properties in their order, optional ones given or not. `…-n` goes on after at least one has been given, `…-f` before: only the former needs a
 * comma. That is two rules a property and not one for each subset.
 */
function objectExpression(
  rules: GrammarRules,
  properties: readonly PropertyShape[],
  nameOf: (id: ShapeId) => string,
  name: string,
): string {
  const next = (index: number) => `${name}-n${index}`;
  const first = (index: number) => `${name}-f${index}`;
  rules.set(next(properties.length), 'ws');
  rules.set(first(properties.length), '""');
  for (const [index, property] of properties.entries()) {
    const entry = `${literal(`${JSON.stringify(property.name)}:`)} ws ${nameOf(property.shape)} ${next(index + 1)}`;
    const skip = (rest: string) => (property.isRequired ? '' : ` | ${rest}`);
    rules.set(next(index), `"," ws ${entry}${skip(next(index + 1))}`);
    rules.set(first(index), `${entry}${skip(first(index + 1))}`);
  }
  return `"{" ws ${first(0)} "}"`;
}

const DAYS_OF_MONTHS =
  '( "0" [13578] | "1" [02] ) "-" ( "0" [1-9] | [12] [0-9] | "3" [01] ) | ( "0" [469] | "11" ) "-" ( "0" [1-9] | [12] [0-9] | "30" ) | "02-" ( "0" [1-9] | "1" [0-9] | "2" [0-8] )';
const LEAP_YEAR = '[0-9]{2} ( "0" [48] | [2468] [048] | [13579] [26] ) | ( "0" [48] | [2468] [048] | [13579] [26] ) "00"';
const DATE = `[0-9]{4} "-" ( ${DAYS_OF_MONTHS} ) | ( ${LEAP_YEAR} ) "-02-29"`;
const CLOCK = '( [01] [0-9] | "2" [0-3] ) ":" [0-5] [0-9]';
const TIME = `${CLOCK} ":" [0-5] [0-9] ( "." [0-9]{1,6} )? ( "Z" | [+-] ${CLOCK} )`;
const BYTE = '( [0-9] | [1-9] [0-9] | "1" [0-9]{2} | "2" [0-4] [0-9] | "25" [0-5] )';
const LABEL = '[a-zA-Z0-9]{1,30}';

/** RFC 3339, RFC 9562, and addresses of the plain kind. */
const FORMATS: Record<StringFormat, string> = {
  date: DATE,
  time: TIME,
  'date-time': `( ${DATE} ) "T" ${TIME}`,
  uuid: 'hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}',
  ipv4: `${BYTE} ( "." ${BYTE} ){3}`,
  email: `${LABEL} ( [._-] ${LABEL} ){0,3} "@" ( ${LABEL} "." ){1,3} [a-zA-Z]{2,10}`,
};
