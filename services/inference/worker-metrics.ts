/** Gauges and counters of one worker. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { TokenUsage } from '../../events/contract/index.js';
import type { Engine } from './engine.js';

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

/** Gauges of the engines by name: load, how far loading has come, and completion tokens a second since the last scrape. */
export function watchEngines(registry: Registry, engines: Readonly<Record<string, Engine>>, nowMs: () => number): void {
  const registers = [registry];
  const labelNames = ['engine'];
  const gauge = (name: string, help: string, value: (engine: Engine) => number) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      collect() {
        for (const [engine, subject] of Object.entries(engines)) this.set({ engine }, value(subject));
      },
    });
  gauge('farebox_inference_engine_active', 'Runs that the engine is generating.', (engine) => engine.load().active);
  gauge('farebox_inference_engine_queued', 'Runs that wait for a place in the engine.', (engine) => engine.load().queued);
  gauge('farebox_inference_engine_loaded', 'How far the model is loaded: 0 to 1, -1 when it cannot be.', loadedShare);
  tokensPerSecond(registry, nowMs);
}

function loadedShare(engine: Engine): number {
  const state = engine.state();
  switch (state.status) {
    case 'loading':
      return state.progress;
    case 'ready':
      return 1;
    case 'failed':
      return -1;
  }
}

function tokensPerSecond(registry: Registry, nowMs: () => number): void {
  let countedBefore = 0;
  let scrapedAtMs = nowMs();
  new Gauge({
    name: 'farebox_inference_completion_tokens_per_second',
    help: 'Completion tokens a second since the last scrape.',
    registers: [registry],
    async collect() {
      const counter = registry.getSingleMetric('farebox_inference_tokens_total') as Counter | undefined;
      const counted = (await counter?.get())?.values.find((sample) => sample.labels['kind'] === 'completion')?.value ?? 0;
      const elapsedMs = nowMs() - scrapedAtMs;
      if (elapsedMs <= 0) return;
      this.set(((counted - countedBefore) * 1_000) / elapsedMs);
      countedBefore = counted;
      scrapedAtMs = nowMs();
    },
  });
}
