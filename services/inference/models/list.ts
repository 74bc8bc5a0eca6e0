/** What `farebox models list` shows: each model of the preset, and whether its weights are on this machine. */
import type { PresetModel } from '../../../presets/preset-schema.js';
import { findWeights } from './weights.js';

export type ModelListing = {
  readonly id: string;
  /** `null` for the model that comes with the software. */
  readonly uri: string | null;
  readonly quantization: string | null;
  readonly isPresent: boolean;
  readonly path: string | null;
  readonly sizeBytes: number | null;
};

export function listModels(models: readonly PresetModel[], modelDirectory: string): Promise<ModelListing[]> {
  return Promise.all(models.map((model) => listingOf(model, modelDirectory)));
}

async function listingOf(model: PresetModel, modelDirectory: string): Promise<ModelListing> {
  const { id, weights } = model;
  if (weights === undefined) return { id, uri: null, quantization: null, isPresent: true, path: null, sizeBytes: null };
  const file = await findWeights(model, modelDirectory);
  return {
    id,
    uri: weights.uri,
    quantization: weights.quantization,
    isPresent: file !== null,
    path: file?.path ?? null,
    sizeBytes: file?.sizeBytes ?? null,
  };
}
