/** The engines of one process and the worker in front of them: one engine for live runs, the echo engine for test keys. */
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { MessageBus } from '../../events/bus/message-bus.js';
import type { Environment } from '../../events/contract/index.js';
import { systemClock } from '../../platform/clock.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { SettingsError } from '../../platform/settings.js';
import type { Preset, PresetModel } from '../../presets/preset-schema.js';
import { EchoEngine } from './echo/echo-engine.js';
import type { Engine } from './engine.js';
import type { EngineSettings } from './engine-settings.js';
import { LlamaEngine } from './llama/llama-engine.js';
import { presentWeights } from './models/weights.js';
import { TINY_MODEL_PATH } from './tiny/tiny-model.js';
import { startWorker } from './worker.js';
import { watchEngines, workerMetrics } from './worker-metrics.js';

/** Runs under way get this long to end when the process stops; the API has drained its requests by then. */
const WORKER_DRAIN_MS = 2_000;

/** Tokens of prompt and answer that one sequence of real weights holds; memory for all sequences is taken at the start. */
const LLAMA_CONTEXT_TOKENS = 8_192;
const TINY_CONTEXT_TOKENS = 4_096;

/** Tokens of one decode over all sequences; longer prompts are taken in pieces, so that they do not hold up the others. */
const BATCH_TOKENS = 512;

/** Engines share their cores with API, Postgres and clients, or with other workers; docs/decisions/0002-llama-threads.md has the measurement. */
const THREADS_DEFAULT = 1;

export type ServingEngines = {
  /** Serves live keys. */
  readonly live: Engine;
  /** The model that the welcome text names. */
  readonly demoModel: string;
  /** What really runs for a model of the catalogue, and how much it can take; `null` when nothing here serves it. */
  contextOf(model: string, environment: Environment): { readonly contextTokensMax: number; readonly systemFingerprint: string } | null;
  /** What test keys get. */
  readonly testEngine: { readonly contextTokens: number; readonly systemFingerprint: string };
  /** Runs in the worker's hands. */
  runs(): number;
  /** The models of the catalogue that live keys get here. */
  served(): { readonly model: string; readonly contextTokens: number; readonly systemFingerprint: string }[];
  /** Runs under way get `drainMs` to end. */
  stop(drainMs?: number): Promise<void>;
};

type LiveEngine = {
  readonly engine: Engine;
  readonly contextTokensMax: () => number;
  readonly demoModel: string;
  readonly serves: (model: string) => boolean;
};

export async function startEngines(options: {
  readonly settings: EngineSettings;
  readonly preset: Preset;
  readonly bus: MessageBus;
  readonly pool: string;
  /** Unique among all workers that ever were. */
  readonly workerId: string;
  readonly logger: Logger;
  readonly metrics: Registry;
  /** For a process of its own, which can be lost. */
  readonly tellsStarts?: boolean;
  /** Whether work is taken only when the model is loaded and has run once; otherwise a large one loads while requests are told so. */
  readonly takesWorkWhenWarm?: boolean;
}): Promise<ServingEngines> {
  const { settings, preset, bus, pool, workerId, logger, metrics } = options;
  const echo = new EchoEngine();
  const live = await startLiveEngine(settings, preset, logger);
  if (options.takesWorkWhenWarm === true) await warmUp(live.engine);
  const worker = await startWorker({
    bus,
    pool,
    workerId,
    engineFor: ({ environment, model }) => {
      if (environment === 'test') return echo;
      return live.serves(model) ? live.engine : null;
    },
    clock: systemClock,
    scheduler: eventLoopScheduler,
    logger,
    metrics: workerMetrics(metrics),
    ...(options.tellsStarts === undefined ? {} : { tellsStarts: options.tellsStarts }),
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
    testEngine: { contextTokens: echo.contextTokens, systemFingerprint: echo.systemFingerprint },
    runs: () => worker.runsInFlight,
    served: () =>
      preset.models
        .filter(({ id }) => live.serves(id))
        .map(({ id }) => ({ model: id, contextTokens: live.contextTokensMax(), systemFingerprint: live.engine.systemFingerprint })),
    async stop(drainMs = WORKER_DRAIN_MS) {
      await worker.stop(drainMs);
      await live.engine.close();
      await echo.close();
    },
  };
}

async function startLiveEngine(settings: EngineSettings, preset: Preset, logger: Logger): Promise<LiveEngine> {
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
        threads: settings.engineThreads ?? THREADS_DEFAULT,
        demoModel: firstModel,
        serves: () => true,
      });
    case 'llama': {
      const model = chosenModel(settings, preset);
      return startLlama(settings, logger, {
        modelPath: await presentWeights(model, settings.modelDirectory),
        contextTokens: Math.min(model.context_window, LLAMA_CONTEXT_TOKENS),
        threads: settings.engineThreads ?? THREADS_DEFAULT,
        demoModel: model.id,
        serves: (id) => id === model.id,
      });
    }
  }
}

/** The first run brings in pages and kernels; a client should not wait for that. Rejects when the model cannot be loaded. */
async function warmUp(engine: Engine): Promise<void> {
  await engine.whenLoaded?.();
  await engine.run({
    runId: 'warm-up',
    messages: [{ role: 'user', content: 'Hello' }],
    sampling: { temperature: 0, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: 1 },
    stop: [],
    outputTokensBudget: 1,
    onText: () => {},
    signal: new AbortController().signal,
  });
}

type LlamaChoice = {
  readonly modelPath: string;
  readonly contextTokens: number;
  readonly threads: number;
  readonly demoModel: string;
  readonly serves: (model: string) => boolean;
};

async function startLlama(settings: EngineSettings, logger: Logger, choice: LlamaChoice): Promise<LiveEngine> {
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
function chosenModel(settings: EngineSettings, preset: Preset): PresetModel {
  const withWeights = preset.models.filter((model) => model.weights !== undefined);
  const chosen = settings.model === undefined ? withWeights[0] : withWeights.find((model) => model.id === settings.model);
  if (chosen !== undefined) return chosen;
  const names = withWeights.map((model) => model.id).join(', ');
  throw new SettingsError(
    `FAREBOX_MODEL: the preset ${preset.name} has no weights for ${settings.model ?? 'any model'}; it has them for ${names}`,
  );
}
