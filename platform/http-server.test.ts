/** The HTTP server's end: what is under way is answered, what hangs is cut off, and nothing new gets in. */
import type { ServerResponse } from 'node:http';
import { Agent, get, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { HEADER_BYTES_MAX, type HttpServer, startHttpServer } from './http-server.js';
import { waitFor } from './testing/wait-for.js';

const HOST = '127.0.0.1';
const waiting: ServerResponse[] = [];
const agent = new Agent({ keepAlive: true });
let server: HttpServer | null = null;

afterEach(async () => {
  agent.destroy();
  await server?.stop(0);
  waiting.length = 0;
});

/** `/wait` is answered by the test, everything else at once. */
async function start(): Promise<HttpServer> {
  server = await startHttpServer({
    host: HOST,
    port: 0,
    handler: (request, response) => {
      if (request.url === '/wait') waiting.push(response);
      else response.end('ok');
    },
  });
  return server;
}

function fetchPath(port: number, path: string, headers: Record<string, string> = {}): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    get({ host: HOST, port, path, agent, headers }, (response: IncomingMessage) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      response.on('error', reject);
    }).on('error', reject);
  });
}

test('a stop lets the request under way end, closes its kept-alive connection and takes no new one', async () => {
  const { port, stop } = await start();
  await fetchPath(port, '/');
  const answer = fetchPath(port, '/wait');
  await waitFor(() => waiting.length === 1, { describe: 'the request to arrive' });
  let isStopped = false;
  const stopped = stop(10_000).then(() => {
    isStopped = true;
  });
  await expect(fetchPath(port, '/')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  expect(isStopped).toBe(false);
  waiting[0]?.end('late');
  expect(await answer).toEqual({ status: 200, body: 'late' });
  // Well before the keep-alive timeout and the bound of the drain, either of which would fail the wait.
  await waitFor(() => isStopped, { describe: 'the server to stop', timeoutMs: 5_000 });
  await stopped;
});

test('a request that does not end is cut off at the bound', async () => {
  const { port, stop } = await start();
  const answer = fetchPath(port, '/wait');
  answer.catch(() => {});
  await waitFor(() => waiting.length === 1, { describe: 'the request to arrive' });
  await stop(20);
  await expect(answer).rejects.toMatchObject({ code: 'ECONNRESET' });
});

test('headers beyond the bound are refused with 431', async () => {
  const { port } = await start();
  const answer = await fetchPath(port, '/', { 'x-large': 'x'.repeat(HEADER_BYTES_MAX) });
  expect(answer.status).toBe(431);
});

test('a port that is taken is an error, not a crash', async () => {
  const { port } = await start();
  await expect(startHttpServer({ host: HOST, port, handler: () => {} })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  await new Promise<void>((resolve, reject) => {
    const socket = connect(port, HOST, () => resolve(void socket.destroy()));
    socket.on('error', reject);
  });
});
