/** Which engine hears, in a process that serves a preset with models for it. */
import type { Logger } from 'pino';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import type { Preset } from '../../../presets/preset-schema.js';
import { EchoEngine } from '../echo/echo-engine.js';
import type { Engine } from '../engine.js';
import type { EngineSettings } from '../engine-settings.js';
import { findWeights, weightsPath } from '../models/weights.js';
import { WhisperEngine } from './whisper-engine.js';

const THREADS_DEFAULT = 1;

/** Recordings that wait for whisper: each takes tens of seconds, and a client that waits longer has gone. */
const QUEUED_MAX = 8;

/**
 * `null`: nothing here hears, and requests are told so. The bundled models do not hear, so beside them the echo engine stands in, and the
 * fingerprint says so; real weights are used where they have been pulled.
 */
export async function startTranscriber(options: {
  readonly settings: EngineSettings;
  readonly preset: Preset;
  readonly logger: Logger;
}): Promise<Engine | null> {
  const { settings, preset, logger } = options;
  const model = preset.models.find(({ kind, weights }) => kind === 'transcription' && weights !== undefined);
  if (model === undefined || settings.engine === 'echo') return null;
  const weights = await findWeights(model, settings.modelDirectory);
  if (weights === null && settings.engine === 'tiny') return new EchoEngine();
  if (weights === null) {
    const path = weightsPath(model, settings.modelDirectory);
    logger.warn({ model: model.id, path }, `not served: get its weights with npx farebox models pull ${model.id}`);
    return null;
  }
  return new WhisperEngine({
    modelPath: weights.path,
    weightsSizeBytes: weights.sizeBytes,
    threads: settings.engineThreads ?? THREADS_DEFAULT,
    queuedMax: QUEUED_MAX,
    scheduler: eventLoopScheduler,
    logger,
  });
}
