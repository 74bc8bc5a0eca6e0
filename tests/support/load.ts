/**
 * Clients that keep a service busy and remember what they were told: each answer that arrived whole is a promise about the books that must hold
 * whatever happens to the service afterwards.
 */
import type { FareboxClient } from './farebox-client.js';
import type { Answer } from './http-client.js';
import { eventsOf } from './stream-events.js';

/** One request as its client saw it end. */
export type Attempt = {
  readonly projectKey: string;
  /** `null`: sent without. */
  readonly idempotencyKey: string | null;
  /** The e-mail address of the consumer who pays; `null`: the project. */
  readonly consumer: string | null;
  readonly stream: boolean;
  /** `broken`: no whole answer, so nobody knows what became of it. */
  readonly ending: 'answered' | 'refused' | 'broken';
  /** `null` when not even a status arrived. */
  readonly status: number | null;
  readonly body: unknown;
  /** Of an answered request. */
  readonly runId: string | null;
  /** What an answer said was charged, as a decimal string. */
  readonly charged: string | null;
  /** Of the request, in milliseconds. */
  readonly durationMs: number;
};

export type LoadOptions = {
  readonly client: FareboxClient;
  readonly projectKey: string;
  readonly clients: number;
  /** Makes idempotency keys of different loads distinct; `null`: no request has one. */
  readonly keyPrefix: string | null;
  /** Which consumer pays for a client's requests; the project by default. */
  readonly consumerOf?: (client: number) => string | null;
  /** Sold by the run, so that every run costs the same. */
  readonly model: string;
};

export type Load = {
  readonly attempts: readonly Attempt[];
  answered(): number;
  /** Lets requests under way end, begins no more. */
  stop(): Promise<void>;
};

/** A client pauses this long after a request that did not pass, so that an outage is not a busy loop. */
const PAUSE_MS = 10;

/** Each of `clients` sends one request after the other: plain and streamed in turns. */
export function startLoad(options: LoadOptions): Load {
  const attempts: Attempt[] = [];
  let stopping = false;
  let sent = 0;
  const run = async (client: number) => {
    while (!stopping) {
      sent += 1;
      const idempotencyKey = options.keyPrefix === null ? null : `${options.keyPrefix}-${sent}`;
      const consumer = options.consumerOf?.(client) ?? null;
      const attempt = await attemptOnce(options.client, {
        projectKey: options.projectKey,
        idempotencyKey,
        consumer,
        stream: sent % 2 === 0,
        model: options.model,
      });
      attempts.push(attempt);
      if (attempt.ending !== 'answered') await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  };
  const clients = Array.from({ length: options.clients }, (_, client) => run(client));
  return {
    attempts,
    answered: () => attempts.filter(({ ending }) => ending === 'answered').length,
    stop: async () => {
      stopping = true;
      await Promise.all(clients);
    },
  };
}

export type AttemptRequest = Pick<Attempt, 'projectKey' | 'idempotencyKey' | 'consumer' | 'stream'> & { readonly model: string };

/** Never rejects: what went wrong is the attempt's ending. */
export async function attemptOnce(client: FareboxClient, { model, ...request }: AttemptRequest): Promise<Attempt> {
  const headers: [string, string][] = [];
  if (request.idempotencyKey !== null) headers.push(['Idempotency-Key', request.idempotencyKey]);
  if (request.consumer !== null) headers.push(['X-Consumer-Email', request.consumer]);
  const startedAt = performance.now();
  const answer = await client.chat(request.projectKey, { model, stream: request.stream }, headers).catch(() => null);
  return { ...request, ...endingOf(answer, request.stream), durationMs: performance.now() - startedAt };
}

function endingOf(answer: Answer | null, stream: boolean): Pick<Attempt, 'ending' | 'status' | 'body' | 'runId' | 'charged'> {
  if (answer === null) return { ending: 'broken', status: null, body: null, runId: null, charged: null };
  const { status, body, text } = answer;
  if (status !== 200) return { ending: 'refused', status, body, runId: null, charged: null };
  if (stream && !text.endsWith('data: [DONE]\n\n')) return { ending: 'broken', status, body: text, runId: null, charged: null };
  const closing = stream ? closingOf(text) : body;
  return { ending: 'answered', status, body: closing, runId: runIdOf(closing.id), charged: closing.farebox.credits_used };
}

type Closing = { readonly id: string; readonly farebox: { readonly credits_used: string } };

function closingOf(text: string): Closing {
  const closing = eventsOf(text).filter((event) => (event as Partial<Closing>).farebox?.credits_used !== undefined);
  return closing.at(-1) as Closing;
}

function runIdOf(completionId: string): string {
  return completionId.replace('chatcmpl-', 'run_');
}
