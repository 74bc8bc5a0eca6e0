/** Reads a JSON body within bounds: size, encoding, depth. Everything it refuses, it refuses before `JSON.parse` has seen it. */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { refuse } from './refusals.js';

/** A prompt that fills a 128K-token context is about half of this. */
export const BODY_BYTES_MAX = 1_048_576;
export const JSON_DEPTH_MAX = 32;
/**
 * Values in one body, nested ones included. A full conversation has about ten thousand; a mebibyte of `[1,1,…` has half a million, and a schema
 * would complain of each.
 */
export const JSON_VALUES_MAX = 20_000;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const COMMA = 0x2c;

/** The client went away before its request was whole; nobody is left to answer. */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError';
}

/** The body's bytes. Throws a `RefusalError` for a wrong type or size, `ClientGoneError` when the client disconnects meanwhile. */
export function readBody(request: IncomingMessage): Promise<Buffer> {
  const type = request.headers['content-type'];
  if (type !== undefined && !isJson(type)) throw refuse('unsupported_media_type');
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') {
    throw refuse('unsupported_media_type', { message: `Content-Encoding ${encoding.slice(0, 40)} is not supported.` });
  }
  if (Number(request.headers['content-length'] ?? 0) > BODY_BYTES_MAX) throw bodyTooLarge();
  // Who left while its key was looked up has had its 'close' already; nothing would come any more.
  if (request.destroyed) return Promise.reject(new ClientGoneError('the client went away before its request was read'));
  return new Promise((resolve, reject) => {
    let first: Buffer | null = null;
    let rest: Buffer[] | null = null;
    let bytes = 0;
    let whole = false;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > BODY_BYTES_MAX) {
        first = null;
        rest = null;
        request.removeAllListeners('data');
        reject(bodyTooLarge());
      } else if (first === null) first = chunk;
      else if (rest === null) rest = [first, chunk];
      else rest.push(chunk);
    });
    request.once('end', () => {
      whole = true;
      resolve(rest === null ? (first ?? Buffer.alloc(0)) : Buffer.concat(rest));
    });
    // 'close' follows every request; an error with its stack trace is made only for those that broke off.
    request.once('close', () => {
      if (!whole) reject(new ClientGoneError('the client went away while sending its request'));
    });
    request.once('error', (error) => reject(new ClientGoneError('the request broke off', { cause: error })));
  });
}

/** Throws `malformed_json` for what is not UTF-8, not JSON, or beyond `JSON_DEPTH_MAX` or `JSON_VALUES_MAX`. An empty body is `undefined`. */
export function parseJson(body: Buffer): unknown {
  if (body.length === 0) return undefined;
  if (!isUtf8(body)) throw refuse('malformed_json', { message: 'The request body is not valid UTF-8.' });
  refuseExcess(body);
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    throw refuse('malformed_json');
  }
}

function bodyTooLarge() {
  return refuse('body_too_large', { message: `The request body must not exceed ${BODY_BYTES_MAX} bytes.` });
}

/** `application/json` or a `+json` type; a charset other than UTF-8 is not JSON (RFC 8259, section 8.1). */
function isJson(contentType: string): boolean {
  if (contentType === 'application/json') return true;
  const [type = '', ...parameters] = contentType.toLowerCase().split(';');
  const name = type.trim();
  if (name !== 'application/json' && !(name.startsWith('application/') && name.endsWith('+json'))) return false;
  return parameters.every((parameter) => {
    const [key = '', value = ''] = parameter.split('=');
    return key.trim() !== 'charset' || /^"?utf-?8"?$/.test(value.trim());
  });
}

/** One pass over the bytes; what is inside strings does not count. UTF-8's other bytes never look like ASCII. */
function refuseExcess(body: Buffer): void {
  let depth = 0;
  let values = 1;
  let inString = false;
  for (let index = 0; index < body.length; index += 1) {
    const byte = body[index];
    if (inString) {
      if (byte === BACKSLASH) index += 1;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) inString = true;
    else if (byte === COMMA) values += 1;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      depth += 1;
      values += 1;
      if (depth > JSON_DEPTH_MAX) throw excess(`is nested deeper than ${JSON_DEPTH_MAX} levels`);
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth -= 1;
  }
  if (values > JSON_VALUES_MAX) throw excess(`holds more than ${JSON_VALUES_MAX} values`);
}

function excess(what: string) {
  return refuse('malformed_json', { message: `The request body ${what}.` });
}
