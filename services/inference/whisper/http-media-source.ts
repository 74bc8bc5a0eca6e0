/**
 * Gets decoded audio from the API instance that took the request. The address comes with the job, so it is checked against what the operator has
 * configured: a worker asks nobody else, and its secret goes nowhere else.
 */
import type { MediaSource } from '../media-source.js';

/** As `MEDIA_PATH` of services/api/media/serve-media.ts. */
const MEDIA_PATH = '/internal/v1/media/';

/** The longest recording as samples, with room to spare. */
export const MEDIA_BYTES_MAX = 64 * 1024 * 1024;

/** Over a network between machines of one place this takes a second; an attempt is better tried again than waited for. */
export const FETCH_MS_MAX = 15_000;

export type HttpMediaSourceOptions = {
  /** Shared with the API's instances. */
  readonly secret: string;
  /** Origins that may be asked, such as `http://api-1:8080`; `*` stands for any first label of a host name, or any port. */
  readonly allowedOrigins: readonly string[];
};

export function httpMediaSource({ secret, allowedOrigins }: HttpMediaSourceOptions): MediaSource {
  const allowed = allowedOrigins.map(patternOf);
  return async ({ mediaId, mediaUrl }) => {
    if (mediaUrl === undefined) throw new Error('the job does not say where its audio is');
    const { origin } = new URL(mediaUrl);
    if (!allowed.some((pattern) => pattern.test(origin))) throw new Error(`audio at ${origin}, which FAREBOX_MEDIA_ORIGINS does not allow`);
    const response = await fetch(new URL(MEDIA_PATH + encodeURIComponent(mediaId), origin), {
      headers: { authorization: `Bearer ${secret}` },
      redirect: 'error',
      signal: AbortSignal.timeout(FETCH_MS_MAX),
    });
    if (!response.ok || response.body === null) throw new Error(`the API answered ${response.status} for audio`);
    return readBounded(response.body);
  };
}

async function readBounded(body: ReadableStream<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MEDIA_BYTES_MAX) throw new Error(`audio of more than ${MEDIA_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Throws for what is no origin. */
function patternOf(origin: string): RegExp {
  const [scheme = '', rest = ''] = origin.split('://');
  if (!/^https?$/.test(scheme) || !/^(\*|[A-Za-z0-9-]+)[A-Za-z0-9.-]*(:(\d{1,5}|\*))?$/.test(rest))
    throw new Error(`${origin} is no origin`);
  const host = rest.replace(/\./g, '\\.').replace(/^\*/, '[A-Za-z0-9-]+').replace(/:\*$/, '(:\\d{1,5})?');
  return new RegExp(`^${scheme}://${host}$`);
}
