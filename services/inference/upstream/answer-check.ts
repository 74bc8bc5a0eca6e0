/**
 * Whether what an upstream says is what it was asked for. A local engine is held to a schema by its grammar; of an upstream it is checked when the
 * answer is whole, so that nobody pays for one that is something else.
 */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { checkAnswerSchema } from '../../../events/contract/answer-schema.js';
import type { AnswerFormat, Tool } from '../../../events/contract/index.js';

type Schema = Tool['parameters'];

/** The arguments of a call: an object that validates against the tool's parameters. */
export function isValidArguments(argumentsText: string, parameters: Schema): boolean {
  // Some servers say nothing at all for an object without properties.
  const value = parsed(argumentsText === '' ? '{}' : argumentsText);
  return isObject(value) && isValid(value, parameters);
}

export function isValidAnswer(text: string, format: AnswerFormat): boolean {
  const value = parsed(text);
  if (value === undefined) return false;
  return format.kind === 'json_object' ? isObject(value) : isValid(value, format.schema);
}

/** `undefined`: not JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The API has refused schemas beyond the bounds of `answer-schema.ts`, which also keep the work here small; one that is beyond them all the same
 * is not compiled, and nothing is valid by it. A validator is made for this one answer: what clients send is not kept.
 */
function isValid(value: unknown, schema: Schema): boolean {
  if (checkAnswerSchema(schema) !== null) return false;
  const { $schema: _dialect, $id: _id, ...rest } = schema;
  const ajv = new Ajv2020({ strict: false, validateFormats: false, logger: false, addUsedSchema: false });
  return ajv.validate(rest, value);
}
