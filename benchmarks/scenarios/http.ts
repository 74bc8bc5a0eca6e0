/** Billed echo requests beside a bare Express 5 route, plain and streamed, and the latency that billing adds at half of its own maximum. */
import { type Figure, median, ratioFigure, type Scenario } from '../support/figures.js';
import { load } from '../support/load.js';
import type { LoadResult } from '../support/load-generator.js';
import { type MeasuredServer, startBareExpress, startFarebox } from '../support/servers.js';

const CONNECTIONS = 64;
const ROUNDS = 3;
const ROUND_SECONDS = 5;

const bodyOf = (stream: boolean) =>
  JSON.stringify({
    model: 'farebox-tiny',
    messages: [{ role: 'user', content: 'Hello world, how are you today?' }],
    ...(stream ? { stream } : {}),
  });

export const httpScenario: Scenario = {
  name: 'http',
  async run(say) {
    const bare = await startBareExpress();
    const billed = await startFarebox('echo');
    try {
      await round(bare, false, 2);
      await round(billed, false, 4);
      const plain = await compare('billed echo requests', bare, billed, false, say);
      const streamed = await compare('billed echo requests, streamed', bare, billed, true, say);
      const latency = await addedLatency(bare, billed, plain.value, say);
      return [plain, streamed, ...latency];
    } finally {
      await billed.stop();
      await bare.stop();
    }
  },
};

async function round(server: MeasuredServer, stream: boolean, seconds: number, rate?: number) {
  const result = await load({
    url: `${server.baseUrl}/v1/chat/completions`,
    headers: server.headers,
    body: bodyOf(stream),
    connections: CONNECTIONS,
    durationSeconds: seconds,
    ...(rate === undefined ? {} : { rate }),
  });
  if (result.failures > 0) throw new Error(`${result.failures} requests failed at ${server.baseUrl}`);
  return result;
}

/** In turn, so that a machine whose speed drifts slows both. */
async function compare(
  name: string,
  bare: MeasuredServer,
  billed: MeasuredServer,
  stream: boolean,
  say: (line: string) => void,
): Promise<Figure> {
  const [bareRates, billedRates]: [number[], number[]] = [[], []];
  for (let turn = 0; turn < ROUNDS; turn += 1) {
    bareRates.push((await round(bare, stream, ROUND_SECONDS)).requestsPerSecond);
    const result = await round(billed, stream, ROUND_SECONDS);
    billedRates.push(result.requestsPerSecond);
    say(
      `${name}: ${Math.round(result.requestsPerSecond)}/s (p50 ${result.p50Ms} ms, p99 ${result.p99Ms} ms), bare ${Math.round(bareRates.at(-1) ?? 0)}/s`,
    );
  }
  return ratioFigure(
    name,
    median(billedRates),
    'requests/s',
    { name: 'bare Express 5', value: median(bareRates) },
    stream ? undefined : { ratioMin: 0.3 },
  );
}

async function addedLatency(bare: MeasuredServer, billed: MeasuredServer, maximum: number, say: (line: string) => void): Promise<Figure[]> {
  const rate = Math.round(maximum / 2);
  const bareResult = await round(bare, false, ROUND_SECONDS, rate);
  const billedResult = await round(billed, false, ROUND_SECONDS, rate);
  const inWords = ({ p50Ms, p99Ms }: LoadResult) => `p50 ${p50Ms.toFixed(1)} p99 ${p99Ms.toFixed(1)}`;
  say(`at ${rate}/s: billed ${inWords(billedResult)}, bare ${inWords(bareResult)}`);
  const added = billedResult.p99Ms - bareResult.p99Ms;
  return [
    {
      name: `p50 at ${rate} requests/s`,
      value: billedResult.p50Ms,
      unit: 'ms',
      beside: { name: 'bare Express 5', value: bareResult.p50Ms },
    },
    {
      name: `added p99 at ${rate} requests/s`,
      value: added,
      unit: 'ms',
      beside: { name: 'p99 of bare Express 5', value: bareResult.p99Ms },
      target: { text: '<= 10 ms', isMet: added <= 10 },
    },
  ];
}
