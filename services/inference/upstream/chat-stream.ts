/**
 * One streamed chat completion over HTTP: the request, its refusals, and its events one after the other. Everything that may take long is
 * under one abort signal and one watch for silence; a connection is left behind clean for the next request, or closed.
 */
import type { ReadableStreamDefaultReader } from 'node:stream/web';
import { TextDecoder } from 'node:util';
import type { Scheduler } from '../../../platform/scheduler.js';
import type { EngineError } from '../engine.js';
import { type ChatEvent, readChatEvent } from './chat-event.js';
import { SilenceWatch } from './silence-watch.js';
import { SseError, type SseEvent, SseParser } from './sse-parser.js';
import { type Complaint, complaintOf, errorOfStatus } from './upstream-errors.js';
import type { UpstreamTarget } from './upstream-settings.js';

/** Read of an error's body. */
const ERROR_BODY_BYTES_MAX = 16_384;

/** Bytes of one answer's stream: the longest answers of the catalogues take a quarter of it, at 250 bytes a token. */
const STREAM_BYTES_MAX = 134_217_728;

/** The end of a body comes right behind the last event; a server that does not send it gets a new connection next time. */
const BODY_END_MS_MAX = 1_000;

export type ChatStreamOptions = {
  readonly target: UpstreamTarget;
  readonly body: string;
  /** Aborting it closes the connection. Aborted here when the exchange is over. */
  readonly connection: AbortController;
  readonly scheduler: Scheduler;
  /** Nothing was heard for too long. Should abort the connection. */
  readonly onSilence: () => void;
  /** The connection is no longer used. Called once. */
  readonly onReleased: () => void;
  /** Called for each event until it says `enough`. */
  readonly onEvent: (event: ChatEvent) => 'go_on' | 'enough' | 'ended';
};

/**
 * How an exchange ended: `ended` by the handler's word, at `[DONE]`; `enough`, cut short by the handler; `end_of_body`; `refused` by the
 * upstream's status; `garbled`. A broken or aborted connection rejects with `ConnectionBroken`.
 */
export type ChatStreamEnd =
  | { readonly kind: 'ended' | 'enough' | 'end_of_body' }
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

export async function streamChat(options: ChatStreamOptions): Promise<ChatStreamEnd> {
  const { target, connection, scheduler, onSilence, onReleased } = options;
  const watch = new SilenceWatch({ scheduler, limitMs: target.firstByteMsMax, onSilence });
  let isLeftToDrain = false;
  try {
    const response = await post(options);
    const reader = response.body?.getReader() ?? null;
    const refusal = await refusalOf(response, reader, target.name);
    if (refusal !== null) return refusal;
    if (reader === null) return { kind: 'end_of_body' };
    const end = await readEvents(reader, watch, options);
    if (end.kind === 'ended') {
      isLeftToDrain = true;
      void drain(reader, options);
    }
    return end;
  } finally {
    watch.stop();
    if (!isLeftToDrain) {
      // Closes the connection, unless its body has been read to the end.
      connection.abort();
      onReleased();
    }
  }
}

async function post({ target, body, connection }: ChatStreamOptions): Promise<Response> {
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    accept: 'text/event-stream',
    // A compressing proxy would hold events back until its block is full.
    'accept-encoding': 'identity',
    'user-agent': 'farebox',
  };
  if (target.apiKey !== null) headers['authorization'] = `Bearer ${target.apiKey}`;
  // Following a redirect would send prompt and key to an address that no operator named.
  const options: RequestInit = { method: 'POST', headers, body, redirect: 'manual', signal: connection.signal };
  try {
    return await fetch(`${target.baseUrl}/chat/completions`, options);
  } catch (cause) {
    throw new ConnectionBroken('no answer', { cause });
  }
}

type BodyReader = ReadableStreamDefaultReader<Uint8Array>;

async function readBytes(reader: BodyReader): Promise<Uint8Array | null> {
  try {
    const { done, value } = await reader.read();
    return done ? null : value;
  } catch (cause) {
    throw new ConnectionBroken('the answer broke off', { cause });
  }
}

/** What a response that is no event stream means; `null` for one that is. */
async function refusalOf(response: Response, reader: BodyReader | null, upstream: string): Promise<ChatStreamEnd | null> {
  const { status } = response;
  const mediaType = response.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase() ?? '';
  if (status === 200 && mediaType === 'text/event-stream') return null;
  if (status >= 200 && status < 300) {
    return {
      kind: 'garbled',
      reason: `it answered ${status} with ${mediaType === '' ? 'no media type' : 'another media type'}`,
      retryable: false,
    };
  }
  const complaint = complaintOf(reader === null ? null : await readErrorBody(reader));
  return { kind: 'refused', error: errorOfStatus(upstream, status, complaint), status, complaint };
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

async function readEvents(reader: BodyReader, watch: SilenceWatch, options: ChatStreamOptions): Promise<ChatStreamEnd> {
  const parser = new SseParser();
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let bytes = 0;
  for (;;) {
    const chunk = await readBytes(reader);
    if (chunk === null) return { kind: 'end_of_body' };
    watch.heard(options.target.idleMsMax);
    bytes += chunk.byteLength;
    if (bytes > STREAM_BYTES_MAX) return { kind: 'garbled', reason: `a stream of more than ${STREAM_BYTES_MAX} bytes`, retryable: false };
    const taken = takeBytes(chunk, decoder, parser, options.onEvent);
    if (taken !== null) return taken;
  }
}

/** Reads what has come so far; `null`: and waits for more. */
function takeBytes(
  bytes: Uint8Array,
  decoder: TextDecoder,
  parser: SseParser,
  onEvent: ChatStreamOptions['onEvent'],
): ChatStreamEnd | null {
  let text: string;
  try {
    text = decoder.decode(bytes, { stream: true });
  } catch {
    return { kind: 'garbled', reason: 'the stream is not UTF-8', retryable: true };
  }
  let events: readonly SseEvent[];
  try {
    events = parser.push(text);
  } catch (error) {
    if (!(error instanceof SseError)) throw error;
    return { kind: 'garbled', reason: error.message, retryable: true };
  }
  for (const event of events) {
    const wish = onEvent(readChatEvent(event));
    if (wish !== 'go_on') return { kind: wish };
  }
  return null;
}

/** Reads the end of the body, so that the connection can be used again; the run does not wait for it. */
async function drain(reader: BodyReader, { connection, scheduler, onReleased }: ChatStreamOptions): Promise<void> {
  const callOff = scheduler.delay(() => connection.abort(), BODY_END_MS_MAX);
  try {
    let end = await reader.read();
    while (!end.done) end = await reader.read();
  } catch {
    // Aborted or broken: closed either way, and the answer is whole.
  } finally {
    callOff();
    onReleased();
  }
}
