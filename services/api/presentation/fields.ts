/** Fields that many routes share, each stated once, for validation and for the OpenAPI document alike. */
import { z } from 'zod';

/** Longest id ever taken in; real ones have 30 characters, `chatcmpl-` ones 35. */
const ID_CHARACTERS_MAX = 64;

/** An id in a path. Any text is taken: what is no id answers like one that is unknown. */
export const pathId = z.string().min(1);

/** Ids as Farebox makes them: a prefix and a ULID in lower-case Crockford base 32. */
export function isId(text: string, prefix: string): boolean {
  return text.length <= ID_CHARACTERS_MAX && text.startsWith(prefix) && /^[0-9a-hjkmnp-tv-z]{26}$/.test(text.slice(prefix.length));
}

export const amountText = z
  .string()
  .regex(/^-?\d{1,30}(\.\d{1,9})?$/)
  .meta({ description: 'A decimal string in the unit of the offer, exact to nine decimals.', examples: ['1.5'] });

export const exactAmountText = z
  .string()
  .regex(/^-?\d{1,40}(\.\d{1,20}…?)?$/)
  .meta({ description: 'A decimal string before rounding; one that does not end is cut off with `…`.', examples: ['0.0000012345'] });

export const timeText = z.string().meta({ format: 'date-time', examples: ['2026-04-27T15:30:00.000Z'] });
export const unitText = z.string().meta({ description: 'Currency code, or "credit".', examples: ['USD'] });
export const environmentName = z.enum(['live', 'test']);
export const count = z.number().int().nonnegative();

/** A name for people to read: not empty, bounded, and nothing that could forge a line in a log or a table. */
export function displayName(charactersMax: number) {
  return z
    .string()
    .trim()
    .min(1)
    .max(charactersMax)
    .regex(/^[^\p{Cc}\p{Zl}\p{Zp}]*$/u, 'must not contain control characters');
}
