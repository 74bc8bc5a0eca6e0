/** Decoded audio for the workers of other processes: the store of one API instance behind its own server, where only they may ask. */
import type { RequestListener } from 'node:http';
import { hostname } from 'node:os';
import { z } from 'zod';
import { systemClock } from '../../../platform/clock.js';
import { setting } from '../../../platform/settings.js';
import { MediaStore } from './media-store.js';
import { MEDIA_PATH, serveMedia } from './serve-media.js';

export const MEDIA_SERVICE_SETTINGS = {
  /** Shared with the inference workers; without it no recording leaves this process, and no worker hears any. */
  FAREBOX_MEDIA_SECRET: setting(z.string().min(24, 'must have at least 24 characters').max(200).optional()),
  /** Where workers reach this very instance; its host name, or this machine where it listens on that alone, and its port by default. */
  FAREBOX_INTERNAL_URL: setting(z.url({ protocol: /^https?$/ }).optional()),
};

const Schema = z.object(MEDIA_SERVICE_SETTINGS);

const LOOPBACK: ReadonlySet<string> = new Set(['127.0.0.1', 'localhost']);

export type MediaService = {
  readonly store: MediaStore;
  readonly url: string;
  /** Answers workers itself and hands everything else on. */
  infrontOf(handler: RequestListener): RequestListener;
};

/** `null` without a secret. */
export function mediaServiceOf(
  settings: z.infer<typeof Schema>,
  at: { readonly host: string; readonly port: number },
): MediaService | null {
  const secret = settings.FAREBOX_MEDIA_SECRET;
  if (secret === undefined) return null;
  const store = new MediaStore({ clock: systemClock });
  const serve = serveMedia(store, secret);
  return {
    store,
    // Whoever listens on this machine alone is asked on it.
    url: settings.FAREBOX_INTERNAL_URL ?? `http://${LOOPBACK.has(at.host) ? '127.0.0.1' : hostname()}:${at.port}`,
    infrontOf: (handler) => (request, response) =>
      request.url?.startsWith(MEDIA_PATH) ? serve(request, response) : handler(request, response),
  };
}
