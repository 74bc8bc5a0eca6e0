/** A node:http server with bounds on what a client may send, and a graceful end. */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';

/** All headers of a request together. Keys, a few hundred characters of e-mail and names, and proxies' additions fit several times. */
export const HEADER_BYTES_MAX = 16 * 1024;

/** A client has this long to send its headers, and its whole request. */
export const HEADERS_TIMEOUT_MS = 15_000;
export const REQUEST_TIMEOUT_MS = 60_000;

/** Longer than the idle timeout of common proxies, so that it is they who close. */
export const KEEP_ALIVE_TIMEOUT_MS = 75_000;

export type HttpServer = {
  /** The port that was bound, also when 0 was asked for. */
  readonly port: number;
  /** Takes no new connection, lets requests end for up to `drainMs`, then closes what is left. */
  stop(drainMs: number): Promise<void>;
};

/** Rejects when the port cannot be bound. */
export async function startHttpServer(options: {
  readonly handler: RequestListener;
  readonly host: string;
  readonly port: number;
}): Promise<HttpServer> {
  let isStopping = false;
  const server = createServer(
    {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    },
    (request, response) => {
      response.once('close', () => {
        // A kept-alive connection is idle only once its response is through; nobody else would close it then.
        if (isStopping) setImmediate(() => server.closeIdleConnections());
      });
      if (isStopping) response.setHeader('connection', 'close');
      options.handler(request, response);
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return {
    port: (server.address() as AddressInfo).port,
    stop: (drainMs) =>
      new Promise((resolve) => {
        isStopping = true;
        const deadline = setTimeout(() => server.closeAllConnections(), drainMs);
        server.close(() => {
          clearTimeout(deadline);
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}
