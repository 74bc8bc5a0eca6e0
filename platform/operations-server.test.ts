/** What probes and Prometheus see of an internal process. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import type { HttpServer } from './http-server.js';
import { startOperationsServer } from './operations-server.js';
import type { Readiness } from './readiness.js';

let readiness: () => Promise<Readiness>;
let server: HttpServer;
beforeEach(async () => {
  readiness = async () => ({ ready: true, reasons: [] });
  server = await startOperationsServer({
    host: '127.0.0.1',
    port: 0,
    readiness: () => readiness(),
    metrics: new Registry(),
    logger: pino({ level: 'silent' }),
    routes: {
      'POST /internal/echo': async (request, response) => void request.pipe(response),
      'POST /internal/broken': () => Promise.reject(new Error('secret cause')),
    },
  });
});
afterEach(() => server.stop(0));

async function call(path: string, init: RequestInit = {}) {
  const response = await fetch(`http://127.0.0.1:${server.port}${path}`, init);
  return { status: response.status, text: await response.text() };
}

test('health, metrics, and readiness with its reasons', async () => {
  expect(await call('/healthz')).toEqual({ status: 200, text: '{"status":"ok"}' });
  expect((await call('/metrics')).status).toBe(200);
  expect(await call('/readyz?verbose')).toEqual({ status: 200, text: '{"status":"ready"}' });
  readiness = async () => ({ ready: false, reasons: ['the bus is away'] });
  expect(await call('/readyz')).toEqual({ status: 503, text: '{"status":"not_ready","reasons":["the bus is away"]}' });
  readiness = () => Promise.reject(new Error('cannot tell'));
  expect(await call('/readyz')).toMatchObject({ status: 503, text: expect.stringContaining('cannot tell') });
  readiness = () => new Promise(() => {});
  expect(await call('/readyz')).toMatchObject({ status: 503, text: expect.stringContaining('took longer') });
});

test('internal routes by method and path; a failure tells nothing of its cause', async () => {
  expect(await call('/internal/echo', { method: 'POST', body: 'hello' })).toEqual({ status: 200, text: 'hello' });
  expect((await call('/internal/echo')).status).toBe(404);
  expect(await call('/internal/broken', { method: 'POST' })).toEqual({ status: 500, text: '{"status":"failed"}' });
});
