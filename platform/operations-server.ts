/** The HTTP server of a process that has no public API: health, readiness, metrics, and the internal routes it is given. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { type HttpServer, startHttpServer } from './http-server.js';
import { checkReadiness, type Readiness } from './readiness.js';

export type OperationsServerOptions = {
  readonly host: string;
  readonly port: number;
  readonly readiness: () => Promise<Readiness>;
  readonly metrics: Registry;
  readonly logger: Logger;
  /** By method and path, such as `POST /internal/v1/x`. */
  readonly routes?: Readonly<Record<string, (request: IncomingMessage, response: ServerResponse) => Promise<void>>>;
};

/** Rejects when the port cannot be bound. */
export function startOperationsServer(options: OperationsServerOptions): Promise<HttpServer> {
  const { host, port, metrics, logger, routes = {} } = options;
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = (request.url ?? '').split('?')[0] ?? '';
    const route = routes[`${request.method} ${path}`];
    if (route !== undefined) return route(request, response);
    if (request.method !== 'GET') return sendJson(response, 404, { status: 'not_found' });
    switch (path) {
      case '/healthz':
        return sendJson(response, 200, { status: 'ok' });
      case '/readyz': {
        const { ready, reasons } = await checkReadiness(options.readiness);
        return ready ? sendJson(response, 200, { status: 'ready' }) : sendJson(response, 503, { status: 'not_ready', reasons });
      }
      case '/metrics': {
        const text = await metrics.metrics();
        response.writeHead(200, { 'content-type': metrics.contentType });
        response.end(text);
        return;
      }
      default:
        return sendJson(response, 404, { status: 'not_found' });
    }
  };
  const handler = (request: IncomingMessage, response: ServerResponse) => {
    serve(request, response).catch((error: unknown) => {
      logger.error({ err: error, path: request.url }, 'an internal request failed');
      if (!response.headersSent) sendJson(response, 500, { status: 'failed' });
      else response.destroy();
    });
  };
  return startHttpServer({ handler, host, port });
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
