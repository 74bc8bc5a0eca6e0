/**
 * One streamed completion over HTTP, of a chat or a prompt: the request, its refusals, and its events one after the other. Everything that may take long is
 * under one abort signal and one watch for silence; a connection is left behind clean for the next request, or closed.
 */
import { TextDecoder } from 'node:util';
import type { Scheduler } from '../../../platform/scheduler.js';
import { type ChatEvent, readChatEvent } from './chat-event.js';
import { type BodyReader, post, type Refusal, readBytes, refusalOf } from './http-post.js';
import { SilenceWatch } from './silence-watch.js';
import { SseError, type SseEvent, SseParser } from './sse-parser.js';
import type { UpstreamTarget } from './upstream-settings.js';

const MEDIA_TYPE = 'text/event-stream';

/** Bytes of one answer's stream: the longest answers of the catalogues take a quarter of it, at 250 bytes a token. */
const STREAM_BYTES_MAX = 134_217_728;

/** The end of a body comes right behind the last event; a server that does not send it gets a new connection next time. */
const BODY_END_MS_MAX = 1_000;

export type ChatStreamOptions = {
  readonly target: UpstreamTarget;
  readonly path: '/chat/completions' | '/completions';
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
export type ChatStreamEnd = { readonly kind: 'ended' | 'enough' | 'end_of_body' } | Refusal;

export async function streamChat(options: ChatStreamOptions): Promise<ChatStreamEnd> {
  const { target, path, body, connection, scheduler, onSilence, onReleased } = options;
  const watch = new SilenceWatch({ scheduler, limitMs: target.firstByteMsMax, onSilence });
  let isLeftToDrain = false;
  try {
    const response = await post({ target, path, body, mediaType: MEDIA_TYPE, signal: connection.signal });
    const reader = response.body?.getReader() ?? null;
    const refusal = await refusalOf(response, reader, { target, mediaType: MEDIA_TYPE });
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
