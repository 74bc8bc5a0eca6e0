/** One request whose answer is a single JSON text, of bounded size and under one watch for silence. */
import type { Scheduler } from '../../../platform/scheduler.js';
import { type BodyReader, post, type Refusal, readBytes, refusalOf } from './http-post.js';
import { SilenceWatch } from './silence-watch.js';
import type { UpstreamTarget } from './upstream-settings.js';

const MEDIA_TYPE = 'application/json';

/** Two thousand vectors of 3,072 numbers as text take about this much. */
const JSON_BYTES_MAX = 134_217_728;

export type JsonAnswerOptions = {
  readonly target: UpstreamTarget;
  readonly path: '/embeddings';
  readonly body: string;
  /** Aborting it closes the connection. Aborted here when the answer is not read to its end. */
  readonly connection: AbortController;
  readonly scheduler: Scheduler;
  /** Nothing was heard for too long. Should abort the connection. */
  readonly onSilence: () => void;
};

/** A broken or aborted connection rejects with `ConnectionBroken`. */
export async function askForJson(options: JsonAnswerOptions): Promise<{ readonly kind: 'answered'; readonly value: unknown } | Refusal> {
  const { target, path, body, connection, scheduler, onSilence } = options;
  const watch = new SilenceWatch({ scheduler, limitMs: target.firstByteMsMax, onSilence });
  try {
    const response = await post({ target, path, body, mediaType: MEDIA_TYPE, signal: connection.signal });
    const reader = response.body?.getReader() ?? null;
    const refusal = await refusalOf(response, reader, { target, mediaType: MEDIA_TYPE });
    if (refusal !== null) return refusal;
    const text = reader === null ? '' : await readText(reader, () => watch.heard(target.idleMsMax));
    if (text === null) return { kind: 'garbled', reason: `an answer of more than ${JSON_BYTES_MAX} bytes`, retryable: false };
    return { kind: 'answered', value: JSON.parse(text) };
  } catch (error) {
    if (error instanceof SyntaxError) return { kind: 'garbled', reason: 'its answer is not JSON', retryable: true };
    throw error;
  } finally {
    watch.stop();
    // Closes the connection, unless its body has been read to the end.
    connection.abort();
  }
}

/** `null`: too long. */
async function readText(reader: BodyReader, onBytes: () => void): Promise<string | null> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    const chunk = await readBytes(reader);
    if (chunk === null) return Buffer.concat(chunks).toString('utf8');
    onBytes();
    bytes += chunk.byteLength;
    if (bytes > JSON_BYTES_MAX) return null;
    chunks.push(chunk);
  }
}
