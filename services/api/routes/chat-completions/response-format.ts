/** `response_format`: what the text of an answer is held to. With a schema we always hold to it, whether the request says `strict` or not. */
import { z } from 'zod';
import { checkAnswerSchema, checkObjectSchema } from '../../../../events/contract/answer-schema.js';
import type { AnswerFormat, Tool } from '../../../../events/contract/index.js';
import { unsupported } from '../../billed-runs/sampling-parameters.js';
import { refuse } from '../../refusals.js';

const DESCRIPTION_CHARACTERS_MAX = 4_096;
const SHOWN_CHARACTERS_MAX = 40;

/** The body came from `JSON.parse` within bounds of size and depth, so whatever is in it is JSON: nothing is looked at twice. */
export const JsonObjectSchema = z.record(z.string(), z.unknown()) as unknown as z.ZodType<Tool['parameters']>;

export const ResponseFormatSchema = z
  .object({
    type: z.string(),
    json_schema: z
      .object({
        name: z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/, 'must be 1 to 64 letters, digits, underscores or hyphens'),
        description: z.string().max(DESCRIPTION_CHARACTERS_MAX).nullish(),
        schema: JsonObjectSchema.nullish(),
        strict: z.boolean().nullish(),
      })
      .nullish(),
  })
  .nullish()
  .describe('text, json_object, or json_schema with a schema that every answer validates against.');

/** `null`: any text. Throws a `RefusalError` that names the parameter, and of a schema the place and the reason. */
export function answerFormatOf(format: z.infer<typeof ResponseFormatSchema>): AnswerFormat | null {
  if (format === undefined || format === null || format.type === 'text') return null;
  if (format.type === 'json_object') return { kind: 'json_object' };
  if (format.type !== 'json_schema') {
    const type = format.type.slice(0, SHOWN_CHARACTERS_MAX);
    const message = `response_format of type "${type}" is not supported; text, json_object and json_schema are.`;
    throw unsupported('response_format', message);
  }
  const asked = format.json_schema;
  if (asked === undefined || asked === null) throw missing('response_format.json_schema');
  if (asked.schema === undefined || asked.schema === null) throw missing('response_format.json_schema.schema');
  const check = asked.strict === true ? checkObjectSchema : checkAnswerSchema;
  refuseSchema(check(asked.schema), 'response_format.json_schema.schema');
  return { kind: 'json_schema', schema: asked.schema };
}

/** Throws when a schema cannot be held to, with the place in it and the reason. */
export function refuseSchema(refusal: { readonly path: string; readonly reason: string } | null, param: string): void {
  if (refusal === null) return;
  const place = refusal.path === '' ? 'its root' : refusal.path;
  throw refuse('invalid_value', { message: `${param} cannot be held to, at ${place}: ${refusal.reason}.`, param });
}

function missing(param: string) {
  return refuse('invalid_parameter', { message: `The parameter ${param} is required.`, param });
}
