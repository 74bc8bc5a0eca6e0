/** The engines of the embedded deployment and the worker in front of them: one engine for live runs, the echo engine for test keys. */
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { MessageBus } from '../../events/bus/message-bus.js';
import { DEFAULT_POOL, type Environment } from '../../events/contract/index.js';
import { systemClock } from '../../platform/clock.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import type { Preset } from '../../presets/preset-schema.js';
import { EchoEngine } from '../inference/echo/echo-engine.js';
import type { Engine } from '../inference/engine.js';
import { startWorker } from '../inference/worker.js';
import { workerMetrics } from '../inference/worker-metrics.js';
import type { Settings } from './settings.js';

/** Runs under way get this long to end when the process stops; the API has drained its requests by then. */
const WORKER_DRAIN_MS = 2_000;

export type EmbeddedEngines = {
  /** Serves live keys. */
  readonly live: Engine;
  /** The model that the welcome text names: one that is really served as offered, where there is one. */
  readonly demoModel: string;
  contextOf(model: string, environment: Environment): { readonly contextTokensMax: number; readonly systemFingerprint: string } | null;
  stop(): Promise<void>;
};

export async function startEngines(options: {
  readonly settings: Settings;
  readonly preset: Preset;
  readonly bus: MessageBus;
  readonly logger: Logger;
  readonly metrics: Registry;
}): Promise<EmbeddedEngines> {
  const { settings, preset, bus, logger, metrics } = options;
  const echo = new EchoEngine();
  const live: Engine = echo;
  const worker = await startWorker({
    bus,
    pool: DEFAULT_POOL,
    workerId: 'embedded',
    engineFor: (request) => (request.environment === 'test' ? echo : live),
    clock: systemClock,
    scheduler: eventLoopScheduler,
    logger,
    metrics: workerMetrics(metrics),
  });
  void settings;
  return {
    live,
    demoModel: preset.models[0]?.id ?? '',
    contextOf: (_model, environment) => ({
      contextTokensMax: 4096,
      systemFingerprint: (environment === 'test' ? echo : live).systemFingerprint,
    }),
    async stop() {
      await worker.stop(WORKER_DRAIN_MS);
      await live.close();
    },
  };
}
