/** Child process that loads one URL and reports what it saw; a process of its own so that it does not share the server's event loop. */
import autocannon from 'autocannon';
import { pacedLoad } from './paced-load.js';

const DURATION_SECONDS_DEFAULT = 5;

export type LoadRequest = {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly connections: number;
  readonly durationSeconds?: number;
  /** Instead of a duration. */
  readonly amount?: number;
  /** Requests per second over all connections; as fast as possible without it. */
  readonly rate?: number;
};

export type LoadResult = {
  readonly requestsPerSecond: number;
  readonly requests: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Answers other than 2xx, and connections that failed. */
  readonly failures: number;
};

process.once('message', (request: LoadRequest) => {
  const { rate } = request;
  const result = rate === undefined ? fullLoad(request) : pacedLoad({ ...request, rate, durationSeconds: durationOf(request) });
  result.then(
    (answer) => process.send?.(answer, () => process.disconnect()),
    (error: unknown) => {
      throw error;
    },
  );
});

async function fullLoad(request: LoadRequest): Promise<LoadResult> {
  const result = await autocannon({
    url: request.url,
    method: 'POST',
    headers: { ...request.headers, 'content-type': 'application/json' },
    body: request.body,
    connections: request.connections,
    ...(request.amount === undefined ? { duration: durationOf(request) } : { amount: request.amount }),
  });
  return {
    requestsPerSecond: result.requests.total / result.duration,
    requests: result.requests.total,
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
    failures: result.non2xx + result.errors,
  };
}

function durationOf({ durationSeconds = DURATION_SECONDS_DEFAULT }: LoadRequest): number {
  return durationSeconds;
}
