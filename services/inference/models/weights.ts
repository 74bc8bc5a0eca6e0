/** Where a model's weights lie once they have been pulled. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { PresetModel } from '../../../presets/preset-schema.js';
import { EngineError } from '../engine.js';

export type WeightsFile = {
  /** What llama.cpp is given: the file, or the first of its parts. */
  readonly path: string;
  /** Of all parts together. */
  readonly sizeBytes: number;
};

/** Large models come in parts, whose names end like this (`llama_split_path` in llama.cpp); it loads them by the first one. */
const PART = /-(\d{5})-of-(\d{5})\.gguf$/;

/** One file per model and quantisation, named so that a directory listing says what it is. */
export function weightsPath(model: PresetModel, modelDirectory: string): string {
  const quantization = model.weights?.quantization ?? 'unknown';
  // whisper.cpp's weights are in the format before GGUF.
  const suffix = model.kind === 'transcription' ? 'bin' : 'gguf';
  return join(modelDirectory, `${model.id}-${quantization}.${suffix}`.replace(/[^A-Za-z0-9._-]/g, '_'));
}

/** The weights, if they are there in all their parts; `null` otherwise. */
export async function findWeights(model: PresetModel, modelDirectory: string): Promise<WeightsFile | null> {
  const path = weightsPath(model, modelDirectory);
  const whole = await sizeOf(path);
  if (whole !== null) return { path, sizeBytes: whole };
  const parts = await partsOf(path);
  const countMax = Number(PART.exec(parts[0] ?? '')?.[2] ?? 0);
  if (parts[0] === undefined || parts.length !== countMax) return null;
  const sizes = await Promise.all(parts.map(sizeOf));
  return { path: parts[0], sizeBytes: sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0) };
}

/** The file, if it is there. Throws `EngineError` with the command that gets it. */
export async function presentWeights(model: PresetModel, modelDirectory: string): Promise<string> {
  const weights = await findWeights(model, modelDirectory);
  if (weights !== null) return weights.path;
  throw new EngineError(
    'model_unavailable',
    `the weights of ${model.id} are not at ${weightsPath(model, modelDirectory)}; get them with: npx farebox models pull ${model.id}`,
    false,
  );
}

async function sizeOf(path: string): Promise<number | null> {
  try {
    const { size } = await stat(path);
    return size;
  } catch {
    return null;
  }
}

/** Paths of the parts that are there, in order. */
async function partsOf(path: string): Promise<string[]> {
  const directory = dirname(path);
  const stem = basename(path, '.gguf');
  const names = await readdir(directory).catch(() => []);
  return names
    .filter((name) => name.startsWith(`${stem}-`) && PART.test(name) && name.replace(PART, '') === stem)
    .sort()
    .map((name) => join(directory, name));
}
