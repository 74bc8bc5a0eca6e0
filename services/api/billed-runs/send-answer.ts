/** Writes answers to responses: plain ones whole, and the head of streamed ones. */
import type { ServerResponse } from 'node:http';
import { sendJson } from '../send-json.js';
import type { AnswerShape, OpenedRun, StreamShape } from './billed-run.js';

export const JSON_TYPE = 'application/json';

/** The events of a run's stream. Throws when the route has none: its body schema should not have let `stream` through. */
export function streamOf({ stream }: AnswerShape, run: OpenedRun): StreamShape {
  if (stream === undefined) throw new Error('a stream was asked of a route that has none');
  return stream(run);
}

/** `head` is a flat list of names and values; it is extended. */
export function sendPlain(response: ServerResponse, text: string, contentType: string, head: string[]): void {
  if (contentType === JSON_TYPE) {
    sendJson(response, 200, text, head);
    return;
  }
  head.push('content-type', contentType, 'content-length', String(Buffer.byteLength(text)));
  response.writeHead(200, head);
  response.end(text);
}

export function writeStreamHead(response: ServerResponse, head: string[]): void {
  // X-Accel-Buffering: nginx would otherwise gather the events.
  head.push('content-type', 'text/event-stream; charset=utf-8', 'cache-control', 'no-cache', 'X-Accel-Buffering', 'no');
  response.writeHead(200, head);
}
