/**
 * Requests at an even pace, each timed from the moment it was due, so that a server that falls behind shows it. Load at a rate is not
 * autocannon's: it sends a second's requests at once and rests for the remainder, which measures latency at full speed.
 */
import { Agent, request as httpRequest } from 'node:http';
import type { LoadRequest, LoadResult } from './load-generator.js';

/** A server that has just been loaded fully has work left over: views to bring up to date, memory to clear. */
const WARM_UP_SECONDS = 5;

export async function pacedLoad(load: LoadRequest & { readonly rate: number; readonly durationSeconds: number }): Promise<LoadResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: load.connections });
  const total = Math.round(load.rate * (load.durationSeconds + WARM_UP_SECONDS));
  const warmUp = Math.round(load.rate * WARM_UP_SECONDS);
  const latenciesMs: number[] = [];
  let failures = 0;
  let sent = 0;
  const startMs = performance.now();
  const answers: Promise<void>[] = [];
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const nowMs = performance.now();
      for (; sent < total && startMs + (sent * 1_000) / load.rate <= nowMs; sent += 1) {
        const dueMs = startMs + (sent * 1_000) / load.rate;
        const isMeasured = sent >= warmUp;
        answers.push(
          answered(load, agent).then((isSuccess) => {
            if (!isSuccess) failures += 1;
            if (isMeasured) latenciesMs.push(performance.now() - dueMs);
          }),
        );
      }
      if (sent < total) return;
      clearInterval(timer);
      resolve();
    }, 1);
  });
  await Promise.all(answers);
  agent.destroy();
  latenciesMs.sort((a, b) => a - b);
  const percentile = (share: number) => latenciesMs[Math.min(latenciesMs.length - 1, Math.floor(latenciesMs.length * share))] ?? Number.NaN;
  return {
    requestsPerSecond: (sent * 1_000) / (performance.now() - startMs),
    requests: latenciesMs.length,
    p50Ms: percentile(0.5),
    p99Ms: percentile(0.99),
    failures,
  };
}

function answered(load: LoadRequest, agent: Agent): Promise<boolean> {
  return new Promise((resolve) => {
    const headers = { ...load.headers, 'content-type': 'application/json', 'content-length': Buffer.byteLength(load.body) };
    const request = httpRequest(load.url, { method: 'POST', agent, headers }, (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode === 200));
      response.once('error', () => resolve(false));
    });
    request.once('error', () => resolve(false));
    request.end(load.body);
  });
}
