/** Clients that each ask, wait for the answer and ask again, in this process, and say of every request when it was sent and how it ended. */
import { Agent, request as httpRequest } from 'node:http';

export type Asked = {
  readonly client: number;
  /** On `performance.now()`'s clock, as is `endedMs`. */
  readonly sentMs: number;
  readonly endedMs: number;
  /** `null` when it was not answered and billed: refused, broken off, or too slow. */
  readonly runId: string | null;
};

export type PayingClients = { stop(): Promise<void> };

/** Longer than any recovery that is measured. */
const ANSWER_TIMEOUT_MS = 40_000;
/** Between a failure and the next try of one client, as a polite client waits. */
const RETRY_DELAY_MS = 50;
const COMPLETION_PREFIX = 'chatcmpl-';

export const ECHO_BODY = JSON.stringify({
  model: 'farebox-tiny',
  messages: [{ role: 'user', content: 'Hello world, how are you today?' }],
});

export type PayingClientsOptions = {
  readonly baseUrl: string;
  /** Of the projects that pay; clients take them in turn. */
  readonly keys: readonly string[];
  readonly clients: number;
  readonly onAsked: (asked: Asked) => void;
};

export function startPayingClients({ baseUrl, keys, clients, onAsked }: PayingClientsOptions): PayingClients {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  let isStopped = false;
  const loop = async (client: number) => {
    const key = keys[client % keys.length] ?? '';
    while (!isStopped) {
      const sentMs = performance.now();
      const runId = await ask(`${baseUrl}/v1/chat/completions`, key, agent);
      onAsked({ client, sentMs, endedMs: performance.now(), runId });
      if (runId === null) await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY_MS));
    }
  };
  const loops = Promise.all(Array.from({ length: clients }, (_, client) => loop(client)));
  return {
    async stop() {
      isStopped = true;
      await loops;
      agent.destroy();
    },
  };
}

/** The run that was answered and billed, or `null`. */
function ask(url: string, key: string, agent: Agent): Promise<string | null> {
  return new Promise((resolve) => {
    const headers = {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(ECHO_BODY),
    };
    const request = httpRequest(url, { method: 'POST', agent, headers, timeout: ANSWER_TIMEOUT_MS }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.once('end', () => resolve(response.statusCode === 200 ? runOf(text) : null));
      response.once('error', () => resolve(null));
    });
    request.once('timeout', () => request.destroy());
    request.once('error', () => resolve(null));
    request.end(ECHO_BODY);
  });
}

function runOf(text: string): string {
  const { id } = JSON.parse(text) as { id: string };
  return `run_${id.slice(COMPLETION_PREFIX.length)}`;
}
