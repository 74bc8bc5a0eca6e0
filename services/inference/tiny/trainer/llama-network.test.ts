import { describe, expect, test } from '@jest/globals';
import { seededRandom } from '../random.js';
import { LlamaNetwork } from './llama-network.js';
import type { NetworkShape } from './network-shape.js';
import type { TrainingBatch } from './training-batch.js';

const shape: NetworkShape = {
  vocabularySize: 32,
  width: 32,
  layers: 2,
  heads: 2,
  feedForwardWidth: 64,
  normEpsilon: 1e-5,
  rotaryBase: 10_000,
};
const extents = { windows: 2, windowLength: 64 };

function randomBatch(seed: number): TrainingBatch {
  const random = seededRandom(seed);
  const rows = extents.windows * extents.windowLength;
  return {
    tokens: Int32Array.from({ length: rows }, () => random.below(shape.vocabularySize)),
    targets: Int32Array.from({ length: rows }, () => (random.chance(0.5) ? random.below(shape.vocabularySize) : -1)),
    positions: Int32Array.from({ length: rows }, (_, row) => (row % extents.windowLength) * 3),
    visibleFrom: Int32Array.from({ length: rows }, (_, row) => (row % extents.windowLength < 20 ? 0 : 20)),
  };
}

/** Initial weights are so small that gradients drown in rounding; these are not. */
function networkWithLargeWeights(): LlamaNetwork {
  const network = new LlamaNetwork(shape, extents, seededRandom(1));
  const random = seededRandom(2);
  for (const { values } of network.weights)
    for (let i = 0; i < values.values.length; i++) values.values[i] = (values.values[i] ?? 0) + random.normal() * 0.2;
  return network;
}

describe('LlamaNetwork', () => {
  const STEP = 4e-3;
  const network = networkWithLargeWeights();
  const batch = randomBatch(3);

  test.each(network.weights.map((weight) => [weight.shape.name, weight] as const))(
    'the gradient of %s is the slope of the loss',
    (_, weight) => {
      network.learn(batch);
      const values = weight.values.values;
      const gradient = Float32Array.from(weight.gradient.values);
      const random = seededRandom(4);
      const direction = Float64Array.from(gradient, (slope) => Math.sign(slope) * random.fraction());
      const original = Float32Array.from(values);
      const length = Math.sqrt(direction.reduce((sum, part) => sum + part * part, 0));
      const lossAt = (distance: number): number => {
        for (let i = 0; i < values.length; i++) values[i] = (original[i] ?? 0) + ((direction[i] ?? 0) / length) * distance;
        const loss = network.learn(batch);
        values.set(original);
        return loss;
      };
      const measured = (lossAt(STEP) - lossAt(-STEP)) / (2 * STEP);
      const predicted = gradient.reduce((sum, slope, i) => sum + slope * (direction[i] ?? 0), 0) / length;
      expect(predicted).toBeGreaterThan(0);
      expect(Math.abs(measured / predicted - 1)).toBeLessThan(0.02);
    },
  );

  test('a position sees nothing of what follows it', () => {
    const lossOfFirstHalf = (changed: TrainingBatch): number => {
      const targets = changed.targets.map((target, row) => (row % extents.windowLength < 32 ? target : -1));
      return network.learn({ ...changed, targets });
    };
    const tokens = batch.tokens.map((token, row) => (row % extents.windowLength < 32 ? token : (token + 1) % shape.vocabularySize));
    expect(lossOfFirstHalf({ ...batch, tokens })).toBe(lossOfFirstHalf(batch));
  });

  test('a position sees nothing of the conversation before its own', () => {
    const lossOfSecond = (changed: TrainingBatch): number => {
      const targets = changed.targets.map((target, row) => (row % extents.windowLength < 20 ? -1 : target));
      return network.learn({ ...changed, targets });
    };
    const tokens = batch.tokens.map((token, row) => (row % extents.windowLength < 20 ? (token + 1) % shape.vocabularySize : token));
    expect(lossOfSecond({ ...batch, tokens })).toBe(lossOfSecond(batch));
  });
});
