/**
 * Identifiers: a three-letter prefix and a ULID (48 bits of Unix milliseconds, 80 random bits, Crockford base 32, lower case), so ids sort
 * by time and say what they name. Event ids are UUIDv5 of the command and the event's kind, so a retried append carries the same ids.
 */
import { parse as uuidBytes, v5 as uuidV5 } from 'uuid';

export const ID_PREFIXES = ['prj', 'acc', 'con', 'run', 'req', 'key', 'pay', 'grt', 'ins'] as const;
export type IdPrefix = (typeof ID_PREFIXES)[number];

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const TIME_CHARACTERS = 10;
const RANDOM_BYTES = 10;
const RANDOM_CHARACTERS = 16;

/** Namespace of every Farebox event id; fixed for ever, because retried appends are recognised by it. */
const EVENT_NAMESPACE = uuidBytes('6f1f8a1e-6a52-5d3c-9a0f-3c9b1c0f4e77');

/** Builds an id from its parts. `random` holds at least ten bytes. */
export function makeId(prefix: IdPrefix, timeMs: number, random: Uint8Array): string {
  if (random.length < RANDOM_BYTES) throw new RangeError('makeId needs ten random bytes');
  return `${prefix}_${encodeTime(timeMs)}${encodeRandom(random)}`;
}

/** Unix milliseconds at which an id was made, or `null` when the text is no such id. */
export function idTimeMs(id: string): number | null {
  const separator = id.indexOf('_');
  const body = id.slice(separator + 1);
  if (separator < 0 || body.length !== TIME_CHARACTERS + RANDOM_CHARACTERS) return null;
  let timeMs = 0;
  for (let index = 0; index < TIME_CHARACTERS; index += 1) {
    const digit = ALPHABET.indexOf(body.charAt(index));
    if (digit < 0) return null;
    timeMs = timeMs * 32 + digit;
  }
  return timeMs;
}

/** The same ULID under another prefix: a run, its request and its chat completion share one. */
export function withPrefix(id: string, prefix: string): string {
  return `${prefix}${id.slice(id.indexOf('_') + 1)}`;
}

/** The request id shown to clients for a run: `run_x` is `req_x`. */
export function requestIdOfRun(runId: string): string {
  return withPrefix(runId, 'req_');
}

/** The run behind a request id: `req_x` is `run_x`. */
export function runIdOfRequest(requestId: string): string {
  return withPrefix(requestId, 'run_');
}

/** The ledger account of a project or consumer: `prj_x` and `con_x` hold their credit in `acc_x`. */
export function accountIdOf(holderId: string): string {
  return withPrefix(holderId, 'acc_');
}

/** Deterministic event id: the same command yields the same ids however often it is retried. */
export function eventIdOf(commandId: string, eventType: string): string {
  return uuidV5(`${commandId}/${eventType}`, EVENT_NAMESPACE);
}

function encodeTime(timeMs: number): string {
  let rest = timeMs;
  let text = '';
  for (let index = 0; index < TIME_CHARACTERS; index += 1) {
    text = ALPHABET.charAt(rest % 32) + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

function encodeRandom(random: Uint8Array): string {
  let text = '';
  for (let half = 0; half < RANDOM_BYTES; half += 5) {
    // Five bytes are exactly eight base-32 digits; 40 bits still fit a double.
    let value = 0;
    for (let index = half; index < half + 5; index += 1) value = value * 256 + (random[index] ?? 0);
    let digits = '';
    for (let index = 0; index < 8; index += 1) {
      digits = ALPHABET.charAt(value % 32) + digits;
      value = Math.floor(value / 32);
    }
    text += digits;
  }
  return text;
}
