/** Where a model's weights lie once they have been pulled. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { PresetModel } from '../../../presets/preset-schema.js';
import { EngineError } from '../engine.js';

/** One file per model and quantisation, named so that a directory listing says what it is. */
export function weightsPath(model: PresetModel, modelDirectory: string): string {
  const quantization = model.weights?.quantization ?? 'unknown';
  return join(modelDirectory, `${model.id}-${quantization}.gguf`.replace(/[^A-Za-z0-9._-]/g, '_'));
}

/** The file, if it is there. Throws `EngineError` with the command that gets it. */
export async function presentWeights(model: PresetModel, modelDirectory: string): Promise<string> {
  const path = weightsPath(model, modelDirectory);
  try {
    await access(path);
    return path;
  } catch {
    throw new EngineError(
      'model_unavailable',
      `the weights of ${model.id} are not at ${path}; get them with: npx farebox models pull ${model.id}`,
      false,
    );
  }
}
