/** The engines that serve live keys, by model and variant: a bundled or pulled model's own, an upstream's, or the echo engine. */
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { type Environment, SettingsError } from '../../platform/settings.js';
import type { Preset, PresetModel } from '../../presets/preset-schema.js';
import { EchoEngine } from './echo/echo-engine.js';
import type { Engine } from './engine.js';
import type { EngineSettings } from './engine-settings.js';
import { LlamaEngine } from './llama/llama-engine.js';
import { presentWeights } from './models/weights.js';
import { TINY_MODEL_PATH } from './tiny/tiny-model.js';

/** Tokens of prompt and answer that one sequence of real weights holds; memory for all sequences is taken at the start. */
const LLAMA_CONTEXT_TOKENS = 8_192;
const TINY_CONTEXT_TOKENS = 4_096;

/** Tokens of one decode over all sequences; longer prompts are taken in pieces, so that they do not hold up the others. */
const BATCH_TOKENS = 512;

/** Engines share their cores with API, Postgres and clients, or with other workers; docs/decisions/0002-llama-threads.md has the measurement. */
const THREADS_DEFAULT = 1;

/** What one model, or one variant of it, runs on. */
export type ServedModel = { readonly engine: Engine; readonly contextTokensMax: () => number };

export type LiveEngines = {
  /** What readiness and the welcome speak of. */
  readonly engine: Engine;
  readonly demoModel: string;
  /** `null`: not served here. */
  readonly servedModel: (model: string, quantization: string | null) => ServedModel | null;
  /** The variants that are told apart here; `null` among them: whichever is asked for, one thing serves it. */
  readonly variantsOf: (model: PresetModel) => readonly (string | null)[];
  close(): Promise<void>;
};

/** One thing serves every variant. */
export const ANY_VARIANT = [null] as const;

export type LiveOptions = {
  readonly settings: EngineSettings;
  readonly preset: Preset;
  readonly environment: Environment;
  readonly logger: Logger;
};

export async function startLiveEngines(options: LiveOptions): Promise<LiveEngines> {
  const { settings, preset, logger } = options;
  const firstModel = preset.models[0]?.id ?? '';
  switch (settings.engine) {
    case 'echo': {
      const engine = new EchoEngine();
      return oneEngine({ engine, contextTokensMax: () => engine.contextTokens }, { demoModel: firstModel, only: null });
    }
    case 'tiny':
      // The operator's choice, stated in every answer's fingerprint: the bundled model stands in for the whole catalogue.
      return startLlama(settings, logger, {
        modelPath: fileURLToPath(TINY_MODEL_PATH),
        contextTokens: TINY_CONTEXT_TOKENS,
        threads: settings.engineThreads ?? THREADS_DEFAULT,
        demoModel: firstModel,
        only: null,
      });
    case 'llama':
      return startLlama(settings, logger, await weightsChoice(settings, preset));
    case 'upstream': {
      // Loaded where it is used: what checks other servers' answers takes a moment to load.
      const { upstreamEngines } = await import('./upstream/upstream-engines.js');
      const local = settings.model === undefined ? null : await startLlama(settings, logger, await weightsChoice(settings, preset));
      return upstreamEngines({ ...options, local });
    }
  }
}

/** As `FAREBOX_MODEL` has it. */
export function nameOf(model: string, quantization: string | null): string {
  return quantization === null ? model : `${model}@${quantization}`;
}

/** `only`: the one model and variant that it serves; `null`: it stands in for every one. */
type Standing = { readonly demoModel: string; readonly only: { readonly model: string; readonly quantization: string | null } | null };

function oneEngine(served: ServedModel, { demoModel, only }: Standing): LiveEngines {
  return {
    engine: served.engine,
    demoModel,
    servedModel(model, quantization) {
      if (only === null) return served;
      const isVariant = quantization === null || only.quantization === null || quantization === only.quantization;
      return model === only.model && isVariant ? served : null;
    },
    variantsOf: () => (only === null ? ANY_VARIANT : [only.quantization]),
    close: () => served.engine.close(),
  };
}

type LlamaChoice = Standing & {
  readonly modelPath: string;
  readonly contextTokens: number;
  readonly threads: number;
};

async function weightsChoice(settings: EngineSettings, preset: Preset): Promise<LlamaChoice> {
  const { model, quantization } = chosenWeights(settings, preset);
  return {
    modelPath: await presentWeights(model, settings.modelDirectory),
    contextTokens: Math.min(model.context_window, LLAMA_CONTEXT_TOKENS),
    threads: settings.engineThreads ?? THREADS_DEFAULT,
    demoModel: model.id,
    only: { model: model.id, quantization },
  };
}

async function startLlama(settings: EngineSettings, logger: Logger, choice: LlamaChoice): Promise<LiveEngines> {
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
  return oneEngine(served, choice);
}

/** `model.weights` are those of the variant, where there is one. */
type ChosenWeights = { readonly model: PresetModel; readonly quantization: string | null };

/** What `FAREBOX_MODEL` names (`<model>` or `<model>@<quantization>`), or the first model with weights. Throws `SettingsError`. */
function chosenWeights(settings: EngineSettings, preset: Preset): ChosenWeights {
  const choices = preset.models.flatMap(weightsChoices);
  const isNamed = ({ model, quantization }: ChosenWeights) =>
    settings.model === nameOf(model.id, quantization) || settings.model === model.id;
  const chosen = settings.model === undefined ? choices[0] : choices.find(isNamed);
  if (chosen !== undefined) return chosen;
  const names = choices.map(({ model, quantization }) => nameOf(model.id, quantization)).join(', ');
  throw new SettingsError(
    `FAREBOX_MODEL: the preset ${preset.name} has no weights for ${settings.model ?? 'any model'}; it has them for ${names}`,
  );
}

/** Its variants that have weights, that of the model's own weights first; a transcription's weights are another engine's. */
function weightsChoices(model: PresetModel): ChosenWeights[] {
  if (model.kind === 'transcription') return [];
  if (model.variants === undefined) return model.weights === undefined ? [] : [{ model, quantization: null }];
  const choices = model.variants.flatMap(({ quantization, weights }) =>
    weights === undefined ? [] : [{ model: { ...model, weights }, quantization }],
  );
  const isOwn = ({ model: { weights } }: { readonly model: PresetModel }) => weights?.quantization === model.weights?.quantization;
  return choices.sort((one, other) => Number(isOwn(other)) - Number(isOwn(one)));
}
