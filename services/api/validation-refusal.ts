/** Says in one sentence what is wrong with an input, from the first fault that its schema found. */
import type { z } from 'zod';
import { type RefusalError, refuse } from './refusals.js';

/** Faults of meaning: the type is right, the value is not. Everything else is a fault of structure. */
const SEMANTIC_CODES: ReadonlySet<string> = new Set([
  'too_small',
  'too_big',
  'invalid_value',
  'not_multiple_of',
  'invalid_format',
  'custom',
]);
const PATH_CHARACTERS_MAX = 120;

export function refusalOfValidation(error: z.ZodError, place: 'path' | 'query' | 'body'): RefusalError {
  const issue = error.issues[0];
  if (issue === undefined) return refuse('invalid_parameter');
  if (issue.code === 'unrecognized_keys') {
    const names = issue.keys.map((key) => key.slice(0, PATH_CHARACTERS_MAX)).slice(0, 5);
    return refuse('invalid_parameter', { message: `Unknown parameter in the ${place}: ${names.join(', ')}.`, param: names[0] ?? place });
  }
  const param = pathText(issue.path);
  if (param === '') {
    const message = place === 'body' ? 'The request body must be a JSON object.' : `The ${place} is not valid: ${issue.message}.`;
    return refuse('invalid_parameter', { message });
  }
  const isMissing = issue.code === 'invalid_type' && issue.message.endsWith('received undefined');
  if (isMissing) return refuse('invalid_parameter', { message: `The parameter ${param} is required.`, param });
  const message = `The parameter ${param} is not valid: ${issue.message.charAt(0).toLowerCase()}${issue.message.slice(1)}.`;
  return refuse(SEMANTIC_CODES.has(issue.code) ? 'invalid_value' : 'invalid_parameter', { message, param });
}

/** `messages[0].content`. */
function pathText(path: readonly PropertyKey[]): string {
  let text = '';
  for (const step of path) text += typeof step === 'number' ? `[${step}]` : text === '' ? String(step) : `.${String(step)}`;
  return text.slice(0, PATH_CHARACTERS_MAX);
}
