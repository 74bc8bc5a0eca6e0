/**
 * One process owns a data directory at a time. The owner listens on a socket; whoever finds the socket silent knows that its owner is dead,
 * however it died, which a file with a process id cannot tell.
 */
import { unlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';

/** A live owner answers at once; one that is stopped (SIGSTOP) is still connected to, and counts as alive. */
const ANSWER_TIMEOUT_MS = 500;

export type OwnerLock = { release(): Promise<void> };

/** Throws `EmbeddedPostgresError` when another process owns the directory. */
export async function takeOwnerLock(socketPath: string, dataDirectory: string): Promise<OwnerLock> {
  let server = await listen(socketPath);
  if (server === null) {
    const owner = await askOwner(socketPath);
    if (owner !== null) {
      throw new EmbeddedPostgresError(
        `The data directory ${dataDirectory} is in use by another Farebox (${owner}). Stop it, or set FAREBOX_DATA_DIR.`,
      );
    }
    unlinkSync(socketPath);
    server = await listen(socketPath);
    if (server === null) throw new EmbeddedPostgresError(`Another Farebox is starting with the data directory ${dataDirectory}.`);
  }
  const held = server;
  return { release: () => new Promise((resolve) => void held.close(() => resolve())) };
}

/** `null` when the address is taken. */
function listen(path: string): Promise<Server | null> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.end(`process ${process.pid}`);
    });
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(null);
      else reject(new EmbeddedPostgresError(`${path} cannot be listened on: ${error.message}`));
    });
    server.listen(path, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** What the owner calls itself; `null` when nobody listens. */
function askOwner(path: string): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect(path);
    let answer = '';
    let isConnected = false;
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy());
    socket.setEncoding('utf8');
    socket.on('connect', () => {
      isConnected = true;
    });
    socket.on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => resolve(isConnected ? answer || 'it does not answer' : null));
  });
}
