/** The engines of one process and the worker in front of them: one engine for live runs, the echo engine for test keys. */
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { MessageBus } from '../../events/bus/message-bus.js';
import type { Environment as KeyEnvironment } from '../../events/contract/index.js';
import { systemClock } from '../../platform/clock.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { type Environment, SettingsError } from '../../platform/settings.js';
import type { Preset, PresetModel } from '../../presets/preset-schema.js';
import { EchoEngine } from './echo/echo-engine.js';
import type { Engine } from './engine.js';
import type { EngineSettings } from './engine-settings.js';
import { LlamaEngine } from './llama/llama-engine.js';
import { presentWeights } from './models/weights.js';
import { TINY_MODEL_PATH } from './tiny/tiny-model.js';
import { failoverEngine } from './upstream/failover-engine.js';
import { upstreamEngine } from './upstream/upstream-engine.js';
import { upstreamTarget } from './upstream/upstream-settings.js';
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
  contextOf(model: string, environment: KeyEnvironment): { readonly contextTokensMax: number; readonly systemFingerprint: string } | null;
  /** What test keys get. */
  readonly testEngine: { readonly contextTokens: number; readonly systemFingerprint: string };
  /** Runs in the worker's hands. */
  runs(): number;
  /** The models of the catalogue that live keys get here. */
  served(): { readonly model: string; readonly contextTokens: number; readonly systemFingerprint: string }[];
  /** Runs under way get `drainMs` to end. */
  stop(drainMs?: number): Promise<void>;
};

/** What one model runs on. */
type ServedModel = { readonly engine: Engine; readonly contextTokensMax: () => number };

type LiveEngine = {
  /** What readiness and the welcome speak of. */
  readonly engine: Engine;
  readonly demoModel: string;
  /** `null`: not served here. */
  readonly servedModel: (model: string) => ServedModel | null;
  close(): Promise<void>;
};

export async function startEngines(options: {
  readonly settings: EngineSettings;
  readonly preset: Preset;
  /** Where upstreams' keys are. */
  readonly environment: Environment;
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
  const live = await startLiveEngine(options);
  // An upstream is somebody else's, who may bill for it.
  if (options.takesWorkWhenWarm === true && settings.engine !== 'upstream') await warmUp(live.engine);
  const worker = await startWorker({
    bus,
    pool,
    workerId,
    engineFor: ({ environment, model }) => {
      if (environment === 'test') return echo;
      return live.servedModel(model)?.engine ?? null;
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
      const served = live.servedModel(model);
      return served === null ? null : { contextTokensMax: served.contextTokensMax(), systemFingerprint: served.engine.systemFingerprint };
    },
    testEngine: { contextTokens: echo.contextTokens, systemFingerprint: echo.systemFingerprint },
    runs: () => worker.runsInFlight,
    served: () =>
      preset.models.flatMap(({ id }) => {
        const served = live.servedModel(id);
        if (served === null) return [];
        return [{ model: id, contextTokens: served.contextTokensMax(), systemFingerprint: served.engine.systemFingerprint }];
      }),
    async stop(drainMs = WORKER_DRAIN_MS) {
      await worker.stop(drainMs);
      await live.close();
      await echo.close();
    },
  };
}

type LiveOptions = {
  readonly settings: EngineSettings;
  readonly preset: Preset;
  readonly environment: Environment;
  readonly logger: Logger;
};

async function startLiveEngine(options: LiveOptions): Promise<LiveEngine> {
  const { settings, preset, logger } = options;
  const firstModel = preset.models[0]?.id ?? '';
  switch (settings.engine) {
    case 'echo': {
      const engine = new EchoEngine();
      return oneEngine({ engine, contextTokensMax: () => engine.contextTokens }, firstModel, () => true);
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
    case 'llama':
      return startLlama(settings, logger, await weightsChoice(settings, preset));
    case 'upstream':
      return startUpstreams(options);
  }
}

/** Every model that the preset has served by upstreams, each behind a failover of its own; `FAREBOX_MODEL` adds its local weights. */
async function startUpstreams({ settings, preset, environment, logger }: LiveOptions): Promise<LiveEngine> {
  const models = preset.models.filter((model) => model.served_by !== undefined);
  const [first] = models;
  if (first === undefined) throw new SettingsError(`FAREBOX_ENGINE: the preset ${preset.name} names no upstream in served_by`);
  const local = settings.model === undefined ? null : await startLlama(settings, logger, await weightsChoice(settings, preset));
  const engines = new Map<string, ServedModel>();
  let isLocalUsed = false;
  for (const model of models) {
    const localEngine = local?.servedModel(model.id)?.engine ?? null;
    const members = (model.served_by ?? []).flatMap((entry) => {
      if (entry === 'local_weights') {
        isLocalUsed ||= localEngine !== null;
        return localEngine === null ? [] : [{ name: entry, engine: localEngine }];
      }
      const asked = upstreamTarget(entry, environment);
      if (asked.status === 'refused') throw new SettingsError(asked.reason);
      const contextTokens = model.context_window;
      return [{ name: entry.name, engine: upstreamEngine({ target: asked.target, contextTokens, scheduler: eventLoopScheduler, logger }) }];
    });
    if (members.length === 0) throw new SettingsError(`FAREBOX_MODEL: nothing serves ${model.id} here but its local weights`);
    engines.set(model.id, {
      engine: failoverEngine({ engines: members, clock: systemClock, logger }),
      contextTokensMax: () => model.context_window,
    });
  }
  if (local !== null && !isLocalUsed) throw new SettingsError(`FAREBOX_MODEL: ${settings.model} has no local_weights in its served_by`);
  return {
    engine: (engines.get(first.id) as ServedModel).engine,
    demoModel: first.id,
    servedModel: (model) => engines.get(model) ?? null,
    close: async () => {
      await Promise.all([...engines.values()].map(({ engine }) => engine.close()));
    },
  };
}

function oneEngine(served: ServedModel, demoModel: string, serves: (model: string) => boolean): LiveEngine {
  return {
    engine: served.engine,
    demoModel,
    servedModel: (model) => (serves(model) ? served : null),
    close: () => served.engine.close(),
  };
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

async function weightsChoice(settings: EngineSettings, preset: Preset): Promise<LlamaChoice> {
  const model = chosenModel(settings, preset);
  return {
    modelPath: await presentWeights(model, settings.modelDirectory),
    contextTokens: Math.min(model.context_window, LLAMA_CONTEXT_TOKENS),
    threads: settings.engineThreads ?? THREADS_DEFAULT,
    demoModel: model.id,
    serves: (id) => id === model.id,
  };
}

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
  const served = { engine, contextTokensMax: () => engine.facts?.contextTokens ?? choice.contextTokens };
  return oneEngine(served, choice.demoModel, choice.serves);
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
