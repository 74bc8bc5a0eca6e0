/** One request to an upstream, and what every kind of answer has in common: refusals, broken connections, bodies of bounded size. */
import type { ReadableStreamDefaultReader } from 'node:stream/web';
import type { EngineError } from '../engine.js';
import { type Complaint, complaintOf, errorOfStatus } from './upstream-errors.js';
import type { UpstreamTarget } from './upstream-settings.js';

/** Read of an error's body. */
const ERROR_BODY_BYTES_MAX = 16_384;

/** The upstream's status was none of success, or its answer is in no form that was asked for. */
export type Refusal =
  | { readonly kind: 'refused'; readonly error: EngineError; readonly status: number; readonly complaint: Complaint }
  | { readonly kind: 'garbled'; readonly reason: string; readonly retryable: boolean };

/** The connection could not be made, broke, or was closed from this side. */
export class ConnectionBroken extends Error {
  override readonly name = 'ConnectionBroken';

  /** The short name that Node or undici has for it, such as `ECONNREFUSED`; never a message, which may quote an address. */
  get code(): string {
    const { cause } = this;
    // Fetch hides the error of the socket in the cause of its own.
    return codeOf(propertyOf(cause, 'cause')) ?? codeOf(cause) ?? 'unknown cause';
  }
}

function propertyOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function codeOf(error: unknown): string | null {
  const code = propertyOf(error, 'code');
  return typeof code === 'string' ? code : null;
}

export type PostOptions = {
  readonly target: UpstreamTarget;
  /** Behind the base URL, such as `/chat/completions`. */
  readonly path: string;
  /** JSON text. */
  readonly body: string;
  readonly mediaType: 'text/event-stream' | 'application/json';
  readonly signal: AbortSignal;
};

/** Rejects with `ConnectionBroken`. */
export async function post({ target, path, body, mediaType, signal }: PostOptions): Promise<Response> {
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    accept: mediaType,
    // A compressing proxy would hold events back until its block is full.
    'accept-encoding': 'identity',
    'user-agent': 'farebox',
  };
  if (target.apiKey !== null) headers['authorization'] = `Bearer ${target.apiKey}`;
  // Following a redirect would send prompt and key to an address that no operator named.
  const options: RequestInit = { method: 'POST', headers, body, redirect: 'manual', signal };
  try {
    return await fetch(`${target.baseUrl}${path}`, options);
  } catch (cause) {
    throw new ConnectionBroken('no answer', { cause });
  }
}

export type BodyReader = ReadableStreamDefaultReader<Uint8Array>;

/** `null`: the body has ended. Rejects with `ConnectionBroken`. */
export async function readBytes(reader: BodyReader): Promise<Uint8Array | null> {
  try {
    const { done, value } = await reader.read();
    return done ? null : value;
  } catch (cause) {
    throw new ConnectionBroken('the answer broke off', { cause });
  }
}

/** What a response means that is not of the kind asked for; `null` for one that is. */
export async function refusalOf(
  response: Response,
  reader: BodyReader | null,
  { target, mediaType }: Pick<PostOptions, 'target' | 'mediaType'>,
): Promise<Refusal | null> {
  const { status } = response;
  const given = response.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase() ?? '';
  if (status === 200 && given === mediaType) return null;
  if (status >= 200 && status < 300) {
    const reason = `it answered ${status} with ${given === '' ? 'no media type' : 'another media type'}`;
    return { kind: 'garbled', reason, retryable: false };
  }
  const complaint = complaintOf(reader === null ? null : await readErrorBody(reader));
  return { kind: 'refused', error: errorOfStatus(target.name, status, complaint), status, complaint };
}

async function readErrorBody(reader: BodyReader): Promise<unknown> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  while (bytes < ERROR_BODY_BYTES_MAX) {
    const chunk = await readBytes(reader);
    if (chunk === null) break;
    chunks.push(chunk);
    bytes += chunk.byteLength;
  }
  try {
    return JSON.parse(Buffer.concat(chunks).subarray(0, ERROR_BODY_BYTES_MAX).toString('utf8'));
  } catch {
    return null;
  }
}
