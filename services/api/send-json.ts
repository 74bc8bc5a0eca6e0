/** Writes a JSON response in one go, past Express's `res.json`: no ETag over the body, no header look-ups, one write. */
import type { ServerResponse } from 'node:http';

/** `head` is a flat list of names and values; it is extended. */
export function sendJson(response: ServerResponse, status: number, body: string, head: string[]): void {
  head.push('content-type', 'application/json; charset=utf-8', 'content-length', String(Buffer.byteLength(body)));
  response.writeHead(status, head);
  response.end(body);
}
