/** For orchestrators and Prometheus: alive, ready, figures. */
import type { Registry } from 'prom-client';
import { z } from 'zod';
import { checkReadiness, type Readiness } from '../../../../platform/readiness.js';
import { defineRoute, type RouteDefinition } from '../../route.js';

export type HealthDeps = { readonly readiness: () => Promise<Readiness>; readonly metricsRegistry: Registry };

export function healthRoutes(deps: HealthDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'get',
      path: '/healthz',
      operationId: 'getHealth',
      summary: 'Whether the process answers',
      tag: 'Operations',
      policy: 'public',
      responses: { 200: { description: 'It does', schema: z.object({ status: z.literal('ok') }) } },
      handle: async () => ({ status: 200, body: { status: 'ok' } }),
    }),
    defineRoute({
      method: 'get',
      path: '/readyz',
      operationId: 'getReadiness',
      summary: 'Whether a request would be served',
      tag: 'Operations',
      policy: 'public',
      responses: {
        200: { description: 'It would', schema: z.object({ status: z.literal('ready') }) },
        503: { description: 'Not now', schema: z.object({ status: z.literal('not_ready'), reasons: z.array(z.string()) }) },
      },
      handle: async () => {
        const { ready, reasons } = await checkReadiness(deps.readiness);
        return ready ? { status: 200, body: { status: 'ready' } } : { status: 503, body: { status: 'not_ready', reasons } };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/metrics',
      operationId: 'getMetrics',
      summary: 'Figures for Prometheus',
      tag: 'Operations',
      policy: 'public',
      responses: { 200: { description: 'Prometheus text format', contentType: 'text/plain' } },
      handle: async ({ response }) => {
        const text = await deps.metricsRegistry.metrics();
        response.writeHead(200, { 'content-type': deps.metricsRegistry.contentType });
        response.end(text);
        return { sent: true };
      },
    }),
  ];
}
