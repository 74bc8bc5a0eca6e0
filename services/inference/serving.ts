/** The engines of one process and the worker in front of them: those for live runs, and the echo engine for test keys. */
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { MessageBus } from '../../events/bus/message-bus.js';
import type { Environment as KeyEnvironment, RunRequested, WorkerSeen } from '../../events/contract/index.js';
import { systemClock } from '../../platform/clock.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import type { Environment } from '../../platform/settings.js';
import type { Preset } from '../../presets/preset-schema.js';
import { EchoEngine } from './echo/echo-engine.js';
import type { Engine } from './engine.js';
import type { EngineSettings } from './engine-settings.js';
import { type LiveEngines, type ServedModel, startLiveEngines } from './live-engines.js';
import type { MediaSource } from './media-source.js';
import { startWorker } from './worker.js';
import { watchEngines, workerMetrics } from './worker-metrics.js';

/** Runs under way get this long to end when the process stops; the API has drained its requests by then. */
const WORKER_DRAIN_MS = 2_000;

export type ServedContext = { readonly pool: string; readonly contextTokensMax: number; readonly systemFingerprint: string };

export type WantedEngine = { readonly quantization: string | null; readonly pools: readonly string[] | null };

export type ServingEngines = {
  /** Serves live keys. */
  readonly live: Engine;
  /** The model that the welcome text names. */
  readonly demoModel: string;
  /** What really runs for a model of the catalogue, and how much it can take; `null` when nothing here serves it. */
  contextOf(model: string, environment: KeyEnvironment, wanted?: WantedEngine): ServedContext | null;
  /** What test keys get. */
  readonly testEngine: { readonly contextTokens: number; readonly systemFingerprint: string };
  /** Runs in the worker's hands. */
  runs(): number;
  /** The models of the catalogue that live keys get here, and their variants where these are told apart. */
  served(): WorkerSeen['models'];
  /** Runs under way get `drainMs` to end. */
  stop(drainMs?: number): Promise<void>;
};

export async function startEngines(options: {
  readonly settings: EngineSettings;
  readonly preset: Preset;
  /** Where upstreams' keys are. */
  readonly environment: Environment;
  readonly bus: MessageBus;
  /** Whose work is taken; the first is where runs go that name none. At least one. */
  readonly pools: readonly [string, ...string[]];
  /** Unique among all workers that ever were. */
  readonly workerId: string;
  readonly logger: Logger;
  readonly metrics: Registry;
  /** Hears what transcription models are asked to hear; closed with the others. The echo engine does where it is the live engine. */
  readonly transcriber?: Engine;
  /** Where audio is to be had. */
  readonly mediaSource?: MediaSource;
  /** For a process of its own, which can be lost. */
  readonly tellsStarts?: boolean;
  /** Whether work is taken only when the model is loaded and has run once; otherwise a large one loads while requests are told so. */
  readonly takesWorkWhenWarm?: boolean;
}): Promise<ServingEngines> {
  const { settings, preset, bus, pools, workerId, logger, metrics, mediaSource, transcriber = null } = options;
  const echo = new EchoEngine();
  const live = await startLiveEngines(options);
  const servedModel = (model: string, quantization: string | null) => servedOf({ preset, live, transcriber }, model, quantization);
  // An upstream is somebody else's, who may bill for it.
  if (options.takesWorkWhenWarm === true && settings.engine !== 'upstream') {
    const { kind } = preset.models.find(({ id }) => id === live.demoModel) ?? {};
    await (kind === 'embedding' ? warmUpVectors(live.engine) : warmUp(live.engine));
    await transcriber?.whenLoaded?.();
  }
  const sharedMetrics = workerMetrics(metrics);
  const workerOf = (pool: string) => ({
    bus,
    pool,
    // Executions are named after their worker, so each needs a name of its own.
    workerId: pools.length === 1 ? workerId : `${workerId}-${pool}`,
    engineFor: ({ environment, model, quantization }: RunRequested) => {
      if (environment === 'test') return echo;
      return servedModel(model, quantization ?? null)?.engine ?? null;
    },
    clock: systemClock,
    scheduler: eventLoopScheduler,
    logger,
    metrics: sharedMetrics,
    ...(mediaSource === undefined ? {} : { mediaSource }),
    ...(options.tellsStarts === undefined ? {} : { tellsStarts: options.tellsStarts }),
  });
  const workers = await Promise.all(pools.map((pool) => startWorker(workerOf(pool))));
  const engines = transcriber === null ? { live: live.engine, test: echo } : { live: live.engine, test: echo, transcriber };
  watchEngines(metrics, engines, () => systemClock.nowMs());
  return {
    live: live.engine,
    demoModel: live.demoModel,
    contextOf(model, environment, wanted) {
      const pool = wanted?.pools == null ? pools[0] : wanted.pools.find((one) => pools.includes(one));
      if (pool === undefined) return null;
      if (environment === 'test') return { pool, contextTokensMax: echo.contextTokens, systemFingerprint: echo.systemFingerprint };
      const served = servedModel(model, wanted?.quantization ?? null);
      return served === null
        ? null
        : { pool, contextTokensMax: served.contextTokensMax(), systemFingerprint: served.engine.systemFingerprint };
    },
    testEngine: { contextTokens: echo.contextTokens, systemFingerprint: echo.systemFingerprint },
    runs: () => workers.reduce((runs, worker) => runs + worker.runsInFlight, 0),
    served: () =>
      preset.models.flatMap((model) =>
        live.variantsOf(model).flatMap((quantization) => {
          const served = servedModel(model.id, quantization);
          if (served === null) return [];
          const engine = { contextTokens: served.contextTokensMax(), systemFingerprint: served.engine.systemFingerprint };
          return [{ model: model.id, ...(quantization === null ? {} : { quantization }), ...engine }];
        }),
      ),
    async stop(drainMs = WORKER_DRAIN_MS) {
      await Promise.all(workers.map((worker) => worker.stop(drainMs)));
      await Promise.all([live.close(), transcriber?.close()]);
      await echo.close();
    },
  };
}

type Serving = { readonly preset: Preset; readonly live: LiveEngines; readonly transcriber: Engine | null };

/** What does what the model is for; `null`: nothing here. */
function servedOf({ preset, live, transcriber }: Serving, id: string, quantization: string | null): ServedModel | null {
  const model = preset.models.find((offered) => offered.id === id);
  const served = live.servedModel(id, quantization);
  switch (model?.kind) {
    case 'transcription': {
      const engine = transcriber ?? served?.engine;
      return engine?.transcribe === undefined ? null : { engine, contextTokensMax: () => model.context_window };
    }
    case 'embedding':
      return served?.engine.embed === undefined ? null : served;
    case 'chat':
    case undefined:
      return served;
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

async function warmUpVectors(engine: Engine): Promise<void> {
  await engine.whenLoaded?.();
  await engine.embed?.({ runId: 'warm-up', inputs: ['Hello'], signal: new AbortController().signal });
}
