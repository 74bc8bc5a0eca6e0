/** How a worker in a process of its own gets at recordings. */
import { z } from 'zod';
import { setting } from '../../../platform/settings.js';
import type { MediaSource } from '../media-source.js';
import { httpMediaSource } from './http-media-source.js';

export const MEDIA_SOURCE_SETTINGS = {
  /** Shared with the API's instances; without it this worker hears nothing. */
  FAREBOX_MEDIA_SECRET: setting(z.string().min(24, 'must have at least 24 characters').max(200).optional()),
  /** The API's instances as they call themselves, separated by commas; `*` stands for any name without a dot, or any port. */
  FAREBOX_MEDIA_ORIGINS: setting(z.string().default('http://*:8080,http://127.0.0.1:*')),
};

const Schema = z.object(MEDIA_SOURCE_SETTINGS);

export function mediaSourceOf(settings: z.infer<typeof Schema>): MediaSource | null {
  const secret = settings.FAREBOX_MEDIA_SECRET;
  if (secret === undefined) return null;
  const allowedOrigins = settings.FAREBOX_MEDIA_ORIGINS.split(',').map((origin) => origin.trim());
  return httpMediaSource({ secret, allowedOrigins });
}
