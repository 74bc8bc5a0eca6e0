/** Gauges and counters of one worker. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { TokenUsage } from '../../events/contract/index.js';

export type WorkerMetrics = {
  runStarted(): void;
  runEnded(): void;
  tokensCounted(usage: TokenUsage): void;
};

export function workerMetrics(registry: Registry): WorkerMetrics {
  const registers = [registry];
  const active = new Gauge({ name: 'farebox_inference_runs_in_flight', help: 'Runs in the worker, running or queued.', registers });
  const tokens = new Counter({
    name: 'farebox_inference_tokens_total',
    help: 'Tokens counted by the engines.',
    labelNames: ['kind'],
    registers,
  });
  return {
    runStarted: () => active.inc(),
    runEnded: () => active.dec(),
    tokensCounted({ promptTokens, cachedTokens, completionTokens }) {
      tokens.inc({ kind: 'prompt' }, promptTokens);
      tokens.inc({ kind: 'cached' }, cachedTokens);
      tokens.inc({ kind: 'completion' }, completionTokens);
    },
  };
}
