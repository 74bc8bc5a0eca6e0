/** The engines of the embedded deployment and the worker in front of them: one engine for live runs, the echo engine for test keys. */
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { MessageBus } from '../../events/bus/message-bus.js';
import { DEFAULT_POOL, type Environment } from '../../events/contract/index.js';
import { systemClock } from '../../platform/clock.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import type { Preset, PresetModel } from '../../presets/preset-schema.js';
import { EchoEngine } from '../inference/echo/echo-engine.js';
import type { Engine } from '../inference/engine.js';
import { LlamaEngine } from '../inference/llama/llama-engine.js';
import { presentWeights } from '../inference/models/weights.js';
import { TINY_MODEL_PATH } from '../inference/tiny/tiny-model.js';
import { startWorker } from '../inference/worker.js';
import { watchEngines, workerMetrics } from '../inference/worker-metrics.js';
import { type Settings, SettingsError } from './settings.js';

/** Runs under way get this long to end when the process stops; the API has drained its requests by then. */
const WORKER_DRAIN_MS = 2_000;

/** Tokens of prompt and answer that one sequence of real weights holds; memory for all sequences is taken at the start. */
const LLAMA_CONTEXT_TOKENS = 8_192;
const TINY_CONTEXT_TOKENS = 4_096;

/** Tokens of one decode over all sequences; longer prompts are taken in pieces, so that they do not hold up the others. */
const BATCH_TOKENS = 512;

/** The embedded engine shares its cores with API, Postgres and clients; docs/decisions/0002-llama-threads.md has the measurement. */
const EMBEDDED_THREADS = 1;

export type EmbeddedEngines = {
  /** Serves live keys. */
  readonly live: Engine;
  /** The model that the welcome text names. */
  readonly demoModel: string;
  /** What really runs for a model of the catalogue, and how much it can take; `null` when nothing here serves it. */
  contextOf(model: string, environment: Environment): { readonly contextTokensMax: number; readonly systemFingerprint: string } | null;
  stop(): Promise<void>;
};

type LiveEngine = {
  readonly engine: Engine;
  readonly contextTokensMax: () => number;
  readonly demoModel: string;
  readonly serves: (model: string) => boolean;
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
  const live = await startLiveEngine(settings, preset, logger);
  const worker = await startWorker({
    bus,
    pool: DEFAULT_POOL,
    workerId: 'embedded',
    engineFor: ({ environment, model }) => {
      if (environment === 'test') return echo;
      return live.serves(model) ? live.engine : null;
    },
    clock: systemClock,
    scheduler: eventLoopScheduler,
    logger,
    metrics: workerMetrics(metrics),
  });
  watchEngines(metrics, { live: live.engine, test: echo }, () => systemClock.nowMs());
  return {
    live: live.engine,
    demoModel: live.demoModel,
    contextOf(model, environment) {
      if (environment === 'test') return { contextTokensMax: echo.contextTokens, systemFingerprint: echo.systemFingerprint };
      if (!live.serves(model)) return null;
      return { contextTokensMax: live.contextTokensMax(), systemFingerprint: live.engine.systemFingerprint };
    },
    async stop() {
      await worker.stop(WORKER_DRAIN_MS);
      await live.engine.close();
      await echo.close();
    },
  };
}

async function startLiveEngine(settings: Settings, preset: Preset, logger: Logger): Promise<LiveEngine> {
  const firstModel = preset.models[0]?.id ?? '';
  switch (settings.engine) {
    case 'echo': {
      const engine = new EchoEngine();
      return { engine, contextTokensMax: () => engine.contextTokens, demoModel: firstModel, serves: () => true };
    }
    case 'tiny':
      // The operator's choice, stated in every answer's fingerprint: the bundled model stands in for the whole catalogue.
      return startLlama(settings, logger, {
        modelPath: fileURLToPath(TINY_MODEL_PATH),
        contextTokens: TINY_CONTEXT_TOKENS,
        threads: settings.engineThreads ?? EMBEDDED_THREADS,
        demoModel: firstModel,
        serves: () => true,
      });
    case 'llama': {
      const model = chosenModel(settings, preset);
      return startLlama(settings, logger, {
        modelPath: await presentWeights(model, settings.modelDirectory),
        contextTokens: Math.min(model.context_window, LLAMA_CONTEXT_TOKENS),
        threads: settings.engineThreads ?? EMBEDDED_THREADS,
        demoModel: model.id,
        serves: (id) => id === model.id,
      });
    }
  }
}

type LlamaChoice = {
  readonly modelPath: string;
  readonly contextTokens: number;
  readonly threads: number;
  readonly demoModel: string;
  readonly serves: (model: string) => boolean;
};

async function startLlama(settings: Settings, logger: Logger, choice: LlamaChoice): Promise<LiveEngine> {
  const engine = new LlamaEngine({
    modelPath: choice.modelPath,
    sequences: settings.engineSequences,
    contextTokens: choice.contextTokens,
    batchTokens: BATCH_TOKENS,
    threads: choice.threads,
    queuedMax: settings.engineQueueMax,
    scheduler: eventLoopScheduler,
    logger,
  });
  // Small weights are there in a moment, and then the first request finds the engine ready; large ones load while the API says so.
  const isSmall = settings.engine === 'tiny';
  if (isSmall) await engine.whenLoaded();
  return {
    engine,
    contextTokensMax: () => engine.facts?.contextTokens ?? choice.contextTokens,
    demoModel: choice.demoModel,
    serves: choice.serves,
  };
}

/** The model that `FAREBOX_MODEL` names, or the first with weights. Throws `SettingsError`. */
function chosenModel(settings: Settings, preset: Preset): PresetModel {
  const withWeights = preset.models.filter((model) => model.weights !== undefined);
  const chosen = settings.model === undefined ? withWeights[0] : withWeights.find((model) => model.id === settings.model);
  if (chosen !== undefined) return chosen;
  const names = withWeights.map((model) => model.id).join(', ');
  throw new SettingsError(
    `FAREBOX_MODEL: the preset ${preset.name} has no weights for ${settings.model ?? 'any model'}; it has them for ${names}`,
  );
}
