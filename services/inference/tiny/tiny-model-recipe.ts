/** The numbers that make the tiny model what it is. One recipe and one corpus give one file, byte for byte. */
import type { NetworkShape } from './trainer/network-shape.js';
import type { BatchExtents } from './trainer/training-batch.js';

export type TinyModelRecipe = {
  readonly seed: number;
  /** Conversations the vocabulary is learned from. */
  readonly vocabularyDialogues: number;
  /** Byte tokens, merges and control tokens together. */
  readonly vocabularySize: number;
  readonly shape: Omit<NetworkShape, 'vocabularySize'>;
  readonly batch: BatchExtents;
  readonly steps: number;
  /** Steps during which the learning rates rise; afterwards they fall to zero. */
  readonly warmUpSteps: number;
  readonly embeddingLearningRateMax: number;
  readonly layerLearningRateMax: number;
  readonly weightDecay: number;
  /** Tokens that fit into one sequence, as told to llama.cpp. */
  readonly contextLength: number;
};

export const TINY_MODEL_RECIPE: TinyModelRecipe = {
  seed: 2026,
  vocabularyDialogues: 10_000,
  vocabularySize: 3072,
  shape: { width: 128, layers: 2, heads: 4, feedForwardWidth: 384, normEpsilon: 1e-5, rotaryBase: 10_000 },
  batch: { windows: 3, windowLength: 192 },
  steps: 3000,
  warmUpSteps: 40,
  embeddingLearningRateMax: 0.02,
  layerLearningRateMax: 0.015,
  weightDecay: 0.05,
  contextLength: 8192,
};
