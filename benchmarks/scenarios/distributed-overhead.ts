/** What the distributed wiring adds to a request: the same echo requests through it and through the embedded wiring, in turns. */
import type { DistributedFarebox } from '../support/distributed.js';
import { type Figure, median } from '../support/figures.js';
import { load } from '../support/load.js';
import type { LoadResult } from '../support/load-generator.js';
import { ECHO_BODY } from '../support/paying-clients.js';
import type { MeasuredServer } from '../support/servers.js';

const CLIENTS = 16;
const ROUNDS = 3;
const ROUND_SECONDS = 6;
const WARM_UP_SECONDS = 4;
/** The broker's virtual machine compiles for about this long on busy cores: its CPU time of a request falls to a tenth meanwhile. */
const DISTRIBUTED_WARM_UP_SECONDS = 45;
const REST_MS = 5_000;
const ADDED_P50_MS_MAX = 15;
const ADDED_P99_MS_MAX = 50;

type Target = Pick<MeasuredServer, 'baseUrl' | 'headers'>;

export async function overheadFigures(
  distributed: DistributedFarebox,
  embedded: MeasuredServer,
  say: (line: string) => void,
): Promise<Figure[]> {
  const headers = { authorization: `Bearer ${await distributed.payingKey('overhead')}` };
  const target: Target = { baseUrl: distributed.baseUrl, headers };
  await round(embedded, WARM_UP_SECONDS);
  await round(target, DISTRIBUTED_WARM_UP_SECONDS);
  const atRest = await coresAtRest(distributed);
  const [near, far]: [LoadResult[], LoadResult[]] = [[], []];
  const used = new Map<string, number>();
  for (let turn = 0; turn < ROUNDS; turn += 1) {
    near.push(await round(embedded, ROUND_SECONDS));
    const before = distributed.cpuMs();
    far.push(await round(target, ROUND_SECONDS));
    for (const [name, ms] of distributed.cpuMs()) used.set(name, (used.get(name) ?? 0) + ms - (before.get(name) ?? 0));
    say(`${CLIENTS} clients: ${inWords(far.at(-1))}; embedded ${inWords(near.at(-1))}`);
  }
  const requests = far.reduce((sum, result) => sum + result.requests, 0);
  const rate = Math.round(median(far.map((result) => result.requestsPerSecond)) / 2);
  const [pacedNear, pacedFar] = [await round(embedded, ROUND_SECONDS, rate), await round(target, ROUND_SECONDS, rate)];
  say(`at ${rate}/s: ${inWords(pacedFar)}; embedded ${inWords(pacedNear)}`);
  const of = (results: readonly LoadResult[], figure: (result: LoadResult) => number) => median(results.map(figure));
  const p50 = (result: LoadResult) => result.p50Ms;
  const p99 = (result: LoadResult) => result.p99Ms;
  return [
    {
      name: `billed requests, ${CLIENTS} clients`,
      value: of(far, (result) => result.requestsPerSecond),
      unit: 'requests/s',
      beside: { name: 'embedded', value: of(near, (result) => result.requestsPerSecond) },
    },
    added(`added p50, ${CLIENTS} clients`, of(far, p50), of(near, p50), ADDED_P50_MS_MAX),
    added(`added p99, ${CLIENTS} clients`, of(far, p99), of(near, p99), ADDED_P99_MS_MAX),
    added(`added p50 at ${rate} requests/s`, pacedFar.p50Ms, pacedNear.p50Ms, ADDED_P50_MS_MAX),
    added(`added p99 at ${rate} requests/s`, pacedFar.p99Ms, pacedNear.p99Ms, ADDED_P99_MS_MAX),
    { name: 'all processes at rest', value: atRest, unit: 'cores' },
    ...[...used].map(([name, ms]) => ({ name: `CPU of a request: ${name}`, value: ms / requests, unit: 'ms' })),
  ];
}

/** What fetches, heartbeats and signs of life cost without a request. */
async function coresAtRest(distributed: DistributedFarebox): Promise<number> {
  const total = () => [...distributed.cpuMs().values()].reduce((sum, ms) => sum + ms, 0);
  const [before, startMs] = [total(), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, REST_MS));
  return (total() - before) / (performance.now() - startMs);
}

function added(name: string, farMs: number, nearMs: number, maxMs: number): Figure {
  const value = farMs - nearMs;
  return {
    name,
    value,
    unit: 'ms',
    beside: { name: 'embedded', value: nearMs },
    target: { text: `<= ${maxMs} ms`, isMet: value <= maxMs },
  };
}

async function round({ baseUrl, headers }: Target, durationSeconds: number, rate?: number): Promise<LoadResult> {
  const result = await load({
    url: `${baseUrl}/v1/chat/completions`,
    headers,
    body: ECHO_BODY,
    connections: CLIENTS,
    durationSeconds,
    ...(rate === undefined ? {} : { rate }),
  });
  if (result.failures > 0) throw new Error(`${result.failures} requests failed at ${baseUrl}`);
  return result;
}

function inWords(result: LoadResult | undefined): string {
  if (result === undefined) return 'nothing';
  return `${Math.round(result.requestsPerSecond)}/s p50 ${result.p50Ms.toFixed(1)} p99 ${result.p99Ms.toFixed(1)} ms`;
}
