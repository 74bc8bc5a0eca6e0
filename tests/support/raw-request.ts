/** A request written byte by byte, so that its client can vanish at any of them. */
import { connect, type Socket } from 'node:net';

export type RawRequest = { readonly bytes: Buffer; readonly host: string; readonly port: number };

export function rawRequest(
  baseUrl: string,
  request: {
    readonly path: string;
    readonly key: string;
    readonly json: unknown;
    readonly headers?: readonly (readonly [string, string])[];
  },
): RawRequest {
  const { hostname, port } = new URL(baseUrl);
  const body = JSON.stringify(request.json);
  const lines = [
    `POST ${request.path} HTTP/1.1`,
    `Host: ${hostname}:${port}`,
    `Authorization: Bearer ${request.key}`,
    'Content-Type: application/json',
    // The end of the connection is the end of the answer.
    'Connection: close',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(request.headers ?? []).map(([name, value]) => `${name}: ${value}`),
  ];
  return { bytes: Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`), host: hostname, port: Number(port) };
}

/** How a client leaves: orderly (FIN), or torn away (RST), as when a phone loses its network or a process is killed. */
export type Leaving = 'fin' | 'rst';

export function leave(socket: Socket, how: Leaving): void {
  if (how === 'rst') socket.resetAndDestroy();
  else socket.destroy();
}

/** Sends the first `bytes` of the request, then leaves. Resolves when the connection is gone. */
export async function leaveAfterSending(request: RawRequest, bytes: number, how: Leaving): Promise<void> {
  const { socket, closed } = await opened(request);
  await new Promise<void>((resolve) => socket.write(request.bytes.subarray(0, bytes), () => resolve()));
  leave(socket, how);
  await closed;
}

/** Sends all of the request and leaves once at least `bytes` of the answer have come, or the answer has ended. Resolves with what came. */
export async function leaveAfterReceiving(request: RawRequest, bytes: number, how: Leaving): Promise<string> {
  const { socket, closed } = await opened(request);
  let received = 0;
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => {
    received += chunk.length;
    chunks.push(chunk);
    if (received >= bytes) leave(socket, how);
  });
  socket.write(request.bytes);
  await closed;
  return Buffer.concat(chunks).toString('utf8');
}

/** An open connection and a promise of its end, which an error is too. */
export async function opened({ host, port }: RawRequest): Promise<{ readonly socket: Socket; readonly closed: Promise<void> }> {
  const socket = connect({ host, port });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  socket.on('error', () => {});
  return { socket, closed };
}
