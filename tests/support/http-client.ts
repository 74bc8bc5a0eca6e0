/** A plain HTTP client for tests: any header list, any body, the answer as it came. */
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';

/** A request that takes longer has hung. */
const ANSWER_TIMEOUT_MS = 60_000;

export type Call = {
  /** `POST` with a body and `GET` without one by default. */
  readonly method?: string;
  /** A project's key or the admin key; none by default. */
  readonly key?: string;
  readonly json?: unknown;
  /** Sent as it is, instead of `json`. */
  readonly raw?: string | Buffer;
  /** Duplicates are sent as such. */
  readonly headers?: readonly (readonly [string, string])[];
};

export type Answer = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The parsed text, or `undefined` when it is no JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of any shape; a wrong guess fails the test
  readonly body: any;
};

export type HttpClient = {
  call(path: string, call?: Call): Promise<Answer>;
  close(): void;
};

/** Rejects when the connection breaks before the answer is whole. */
export function createHttpClient(baseUrl: string, agent = new Agent({ keepAlive: true, maxSockets: 512 })): HttpClient {
  const { hostname, port } = new URL(baseUrl);
  const call = (path: string, options: Call = {}) =>
    new Promise<Answer>((resolve, reject) => {
      const body = options.raw ?? (options.json === undefined ? undefined : JSON.stringify(options.json));
      const request = httpRequest({
        agent,
        hostname,
        port,
        path,
        method: options.method ?? (body === undefined ? 'GET' : 'POST'),
        headers: headerList(options, body, `${hostname}:${port}`),
        timeout: ANSWER_TIMEOUT_MS,
      });
      request.on('timeout', () => request.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS} ms to ${path}`)));
      request.on('error', reject);
      request.on('response', (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, body: parsed(text) });
        });
      });
      request.end(body);
    });
  return { call, close: () => agent.destroy() };
}

/** As a flat list, because an object cannot hold duplicates. */
function headerList({ key, headers = [], json }: Call, body: string | Buffer | undefined, host: string): string[] {
  const list = ['Host', host];
  if (key !== undefined) list.push('Authorization', `Bearer ${key}`);
  const named = new Set(headers.map(([name]) => name.toLowerCase()));
  if (json !== undefined && !named.has('content-type')) list.push('Content-Type', 'application/json');
  if (body !== undefined && !named.has('content-length')) list.push('Content-Length', String(Buffer.byteLength(body)));
  for (const [name, value] of headers) list.push(name, value);
  return list;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
