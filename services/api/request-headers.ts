/**
 * Reads headers that decide who pays or which request is meant. Node joins duplicates with a comma, which would make one value of two, so
 * presence is looked up in the parsed headers and the value taken from the raw list, where a duplicate is refused.
 */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { refuse } from './refusals.js';

/** RFC 5321 leaves no room for a longer address. */
export const EMAIL_CHARACTERS_MAX = 254;
export const CONSUMER_NAME_CHARACTERS_MAX = 200;
export const IDEMPOTENCY_KEY_CHARACTERS_MAX = 255;

/** The consumer named by `X-Consumer-Email` and `X-Consumer-Name`; `null` without the first, and then the project pays. */
export type ConsumerHeaders = { readonly email: string; readonly name: string | null };

export function consumerHeaders(request: IncomingMessage): ConsumerHeaders | null {
  const email = singleHeader(request, 'x-consumer-email', 'X-Consumer-Email');
  const name = singleHeader(request, 'x-consumer-name', 'X-Consumer-Name');
  if (email === null) return null;
  return { email: checkedEmail(email), name: name === null || name === '' ? null : checkedName(name) };
}

/**
 * The `Idempotency-Key`, or `null`. `brand` is what header names carry: `X-<brand>-Idempotency-Key` says the same, and where both are sent they
 * must agree.
 */
export function idempotencyKey(request: IncomingMessage, brand?: string): string | null {
  const plain = singleHeader(request, 'idempotency-key', 'Idempotency-Key');
  const branded = brand === undefined ? null : brandedIdempotencyKey(request, brand);
  if (plain !== null && branded !== null && plain !== branded) {
    throw refuse('invalid_parameter', { message: 'Two different idempotency keys were sent.', param: 'Idempotency-Key' });
  }
  const key = plain ?? branded;
  if (key === null) return null;
  if (key === '' || key.length > IDEMPOTENCY_KEY_CHARACTERS_MAX || !everyCharacter(key, isVisibleAscii)) {
    const message = `Idempotency-Key must be 1 to ${IDEMPOTENCY_KEY_CHARACTERS_MAX} visible ASCII characters.`;
    throw refuse('invalid_parameter', { message, param: 'Idempotency-Key' });
  }
  return key;
}

function brandedIdempotencyKey(request: IncomingMessage, brand: string): string | null {
  const name = `X-${brand}-Idempotency-Key`;
  return singleHeader(request, name.toLowerCase(), name);
}

/** The value of a header that may occur once; `null` when it is absent. `name` is in lower case. */
export function singleHeader(request: IncomingMessage, name: string, shownName: string): string | null {
  if (request.headers[name] === undefined) return null;
  const raw = request.rawHeaders;
  let value: string | null = null;
  for (let index = 0; index < raw.length; index += 2) {
    if (raw[index]?.toLowerCase() !== name) continue;
    if (value !== null) throw refuse('invalid_parameter', { message: `${shownName} was sent more than once.`, param: shownName });
    value = raw[index + 1] ?? '';
  }
  return value === null ? null : value.trim();
}

/** Linear in the length: one `@` with something on both sides, no blank, no control character. */
function checkedEmail(text: string): string {
  const param = 'X-Consumer-Email';
  const email = decodedHeader(text);
  if (email.length > EMAIL_CHARACTERS_MAX) {
    throw refuse('invalid_parameter', { message: `${param} must not exceed ${EMAIL_CHARACTERS_MAX} characters.`, param });
  }
  const at = email.indexOf('@');
  const wellFormed = at > 0 && at < email.length - 1 && email.indexOf('@', at + 1) < 0 && everyCharacter(email, isPartOfEmail);
  if (!wellFormed) throw refuse('invalid_parameter', { message: `${param} must be an e-mail address containing @.`, param });
  return email;
}

function checkedName(text: string): string {
  const param = 'X-Consumer-Name';
  const name = decodedHeader(text);
  if (name.length > CONSUMER_NAME_CHARACTERS_MAX || !everyCharacter(name, isPrintable)) {
    const message = `${param} must be at most ${CONSUMER_NAME_CHARACTERS_MAX} characters without control characters.`;
    throw refuse('invalid_parameter', { message, param });
  }
  return name;
}

/** Node reads header bytes as Latin-1; clients that send UTF-8 mean UTF-8. */
function decodedHeader(text: string): string {
  const bytes = Buffer.from(text, 'latin1');
  return isUtf8(bytes) ? bytes.toString('utf8') : text;
}

function everyCharacter(text: string, accepts: (code: number) => boolean): boolean {
  for (let index = 0; index < text.length; index += 1) if (!accepts(text.charCodeAt(index))) return false;
  return true;
}

function isVisibleAscii(code: number): boolean {
  return code >= 0x21 && code <= 0x7e;
}

/** Excludes the C0 and C1 controls, DEL and the Unicode line and paragraph separators. */
function isPrintable(code: number): boolean {
  return code >= 0x20 && !(code >= 0x7f && code <= 0x9f) && code !== 0x2028 && code !== 0x2029;
}

function isPartOfEmail(code: number): boolean {
  return isPrintable(code) && code !== 0x20 && code !== 0x2c && code !== 0x3b && code !== 0x3c && code !== 0x3e;
}
