/** Hands decoded audio to the workers of other processes. Only who knows the secret gets any, and only by an id that is a ULID. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { RequestListener } from 'node:http';
import type { MediaStore } from './media-store.js';

/** services/inference/whisper/http-media-source.ts asks here; a journey test holds the two together. */
export const MEDIA_PATH = '/internal/v1/media/';

/** A listener for requests whose path begins with `MEDIA_PATH`. 401 for a wrong secret, 404 for what is not here (any more). */
export function serveMedia(store: MediaStore, secret: string): RequestListener {
  const expected = digestOf(`Bearer ${secret}`);
  return (request, response) => {
    const end = (status: number) => void response.writeHead(status, { 'content-length': 0 }).end();
    if (!timingSafeEqual(digestOf(request.headers.authorization ?? ''), expected)) return end(401);
    if (request.method !== 'GET') return end(405);
    const samples = store.get((request.url ?? '').slice(MEDIA_PATH.length));
    if (samples === null) return end(404);
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': samples.length, 'cache-control': 'no-store' });
    response.end(samples);
  };
}

/** Digests have one length, which a constant-time comparison needs. */
function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
