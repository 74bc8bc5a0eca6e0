/**
 * Refuses requests that came over plain HTTP, so that a client which forgot the s notices at once that its key travelled in the clear. TLS ends
 * at a proxy, so how a request came is what the proxy says in `X-Forwarded-Proto`, and that is believed only where the operator says that there
 * is a proxy. "http" is always believed: nobody gains by saying it.
 */
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { setting } from '../../platform/settings.js';
import { refuse } from './refusals.js';

/** `local`: taken from this very machine when no proxy had a hand in it, for trying things out. */
export const PLAIN_HTTP_RULES = ['refuse', 'local', 'allow'] as const;
export type PlainHttpRule = (typeof PLAIN_HTTP_RULES)[number];

export const TRANSPORT_SETTINGS = {
  /** By default `local` where the preset is for https only, `allow` otherwise. */
  FAREBOX_PLAIN_HTTP: setting(z.enum(PLAIN_HTTP_RULES).optional()),
  /** Whether a proxy stands in front, which sets `X-Forwarded-Proto` itself and passes on none of a client's. */
  FAREBOX_TRUST_PROXY: setting(z.enum(['true', 'false']).default('false')),
};

export type Transport = { readonly plainHttp: PlainHttpRule | undefined; readonly trustsProxy: boolean };

const Schema = z.object(TRANSPORT_SETTINGS);

export function transportOf(settings: z.infer<typeof Schema>): Transport {
  return { plainHttp: settings.FAREBOX_PLAIN_HTTP, trustsProxy: settings.FAREBOX_TRUST_PROXY === 'true' };
}

/** For orchestrators, which ask from inside. */
const EXCEPTED_PATHS: ReadonlySet<string> = new Set(['/healthz', '/readyz', '/metrics']);
const LOOPBACK = /^(?:127\.|::1$|::ffff:127\.)/;

/** Throws `https_required`. */
export type TransportCheck = (request: IncomingMessage, path: string) => void;

export function transportCheck({ plainHttp, trustsProxy }: Transport, isHttpsOnly: boolean): TransportCheck {
  const rule = plainHttp ?? (isHttpsOnly ? 'local' : 'allow');
  if (rule === 'allow') return () => undefined;
  return (request, path) => {
    if (EXCEPTED_PATHS.has(path)) return;
    const forwarded = request.headers['x-forwarded-proto'];
    if (forwarded === undefined && rule === 'local' && LOOPBACK.test(request.socket.remoteAddress ?? '')) return;
    // Of a chain of proxies the first entry is how the client came.
    const proto = String(forwarded ?? '')
      .split(',')[0]
      ?.trim()
      .toLowerCase();
    if (trustsProxy && proto === 'https') return;
    throw refuse('https_required');
  };
}
