/** Prompts that no chat template wraps, as completions and embeddings take them: one text, one list of tokens, or several of either. */
import { z } from 'zod';
import type { Prompt } from '../../../events/contract/index.js';
import { refuse } from '../refusals.js';
import { tokenId } from './sampling-parameters.js';

/** Told apart by hand: a body may hold thousands of them, and a union of schemas would try each in turn and say of none what is wrong. */
export function promptsSchema(description: string): z.ZodType<unknown> {
  const tokens = z.array(tokenId);
  return z
    .nonoptional(z.unknown())
    .describe(description)
    .meta({ anyOf: [z.string(), z.array(z.string()), tokens, z.array(tokens)].map((schema) => jsonSchemaOf(schema)) });
}

/** Throws a `RefusalError` that names the place. `param` is the parameter's name, `countMax` bounds the prompts. */
export function promptsOf(value: unknown, param: string, countMax: number): Prompt[] {
  if (value === undefined || value === null) throw refuse('invalid_parameter', { message: `The parameter ${param} is required.`, param });
  if (typeof value === 'string') return [textOf(value, param)];
  if (!Array.isArray(value)) throw malformed(param);
  if (value.length === 0) throw refuse('invalid_value', { message: `${param} must not be empty.`, param });
  if (typeof value[0] === 'number') return [tokensOf(value, param)];
  if (value.length > countMax) throw refuse('invalid_value', { message: `${param} may hold at most ${countMax} entries.`, param });
  const areTexts = typeof value[0] === 'string';
  return value.map((entry: unknown, index) => {
    const place = `${param}[${index}]`;
    if (areTexts && typeof entry === 'string') return textOf(entry, place);
    if (!areTexts && Array.isArray(entry)) return tokensOf(entry, place);
    throw malformed(place);
  });
}

function textOf(text: string, param: string): string {
  if (text === '') throw refuse('invalid_value', { message: `${param} must not be an empty string.`, param });
  return text;
}

function tokensOf(tokens: readonly unknown[], param: string): number[] {
  if (tokens.length === 0) throw refuse('invalid_value', { message: `${param} must not be empty.`, param });
  return tokens.map((token, index) => {
    const checked = tokenId.safeParse(token);
    if (!checked.success) throw refuse('invalid_value', { message: `${param}[${index}] must be a token id.`, param: `${param}[${index}]` });
    return checked.data;
  });
}

function malformed(param: string) {
  return refuse('invalid_parameter', { message: `${param} must be text, token ids, or a list of either.`, param });
}

function jsonSchemaOf(schema: z.ZodType): object {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema);
  return rest;
}
