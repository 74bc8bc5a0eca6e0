/** A real HTTP server that speaks OpenAI's streaming protocol, and answers each request as the test says. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type ReceivedRequest = {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Record<string, unknown>;
};

/** One request in the test's hands. */
export class OpenAiExchange {
  readonly request: ReceivedRequest;
  readonly response: ServerResponse;
  /** Resolves when the connection's request is over, by either side. */
  readonly closed: Promise<unknown>;

  constructor(request: ReceivedRequest, response: ServerResponse) {
    this.request = request;
    this.response = response;
    this.closed = once(response, 'close');
  }

  /** Whether the client closed the connection before the answer was complete. */
  get wasCutOff(): boolean {
    return this.response.destroyed && !this.response.writableFinished;
  }

  open(headers: Record<string, string> = {}): this {
    this.response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', ...headers });
    this.response.flushHeaders();
    return this;
  }

  raw(text: string | Uint8Array): this {
    this.response.write(text);
    return this;
  }

  event(value: unknown): this {
    return this.raw(`data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`);
  }

  text(...pieces: string[]): this {
    for (const content of pieces) this.event(chunkOf({ content }));
    return this;
  }

  finish(reason: string): this {
    return this.event(chunkOf({}, reason));
  }

  usage(usage: unknown): this {
    return this.event({ id: 'chatcmpl-1', object: 'chat.completion.chunk', choices: [], usage });
  }

  done(): void {
    this.event('[DONE]');
    this.response.end();
  }

  refuse(status: number, body: unknown, headers: Record<string, string> = {}): void {
    this.response.writeHead(status, { 'content-type': 'application/json', ...headers });
    this.response.end(JSON.stringify(body));
  }

  /** Breaks the connection in the middle of what was being said. */
  reset(): void {
    this.response.socket?.resetAndDestroy();
  }
}

export function chunkOf(delta: Record<string, unknown>, finishReason: string | null = null) {
  return {
    id: 'chatcmpl-1',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'm',
    choices: [{ index: 0, delta, finish_reason: finishReason }],
  };
}

export type OpenAiServer = {
  readonly baseUrl: string;
  /** Every request ever received, in order. */
  readonly exchanges: readonly OpenAiExchange[];
  answer: (exchange: OpenAiExchange) => void | Promise<void>;
  /** Ends every connection, idle ones included. */
  close(): Promise<void>;
};

export async function startOpenAiServer(answer: (exchange: OpenAiExchange) => void | Promise<void>): Promise<OpenAiServer> {
  const exchanges: OpenAiExchange[] = [];
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    try {
      for await (const part of request) parts.push(part as Buffer);
    } catch {
      return;
    }
    const body = JSON.parse(Buffer.concat(parts).toString('utf8')) as Record<string, unknown>;
    const exchange = new OpenAiExchange({ path: request.url ?? '', headers: request.headers, body }, response);
    // What is written to a connection that has gone reports here.
    response.on('error', () => {});
    exchanges.push(exchange);
    await subject.answer(exchange);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const subject: OpenAiServer = {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    exchanges,
    answer,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
  return subject;
}
