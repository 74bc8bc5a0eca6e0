import { describe, expect, test } from '@jest/globals';
import { seededRandom } from '../random.js';
import { AdamW } from './adam.js';
import { LlamaNetwork } from './llama-network.js';
import { Muon } from './muon.js';
import { NO_TARGET, type TrainingBatch } from './training-batch.js';

const shape = { vocabularySize: 32, width: 32, layers: 1, heads: 2, feedForwardWidth: 64, normEpsilon: 1e-5, rotaryBase: 10_000 };
const extents = { windows: 2, windowLength: 64 };

/** A cycle of 16 tokens: what follows is always the next one. */
function cycle(): TrainingBatch {
  const rows = extents.windows * extents.windowLength;
  const tokens = Int32Array.from({ length: rows }, (_, row) => row % 16);
  const targets = Int32Array.from({ length: rows }, (_, row) =>
    row % extents.windowLength === extents.windowLength - 1 ? NO_TARGET : (row + 1) % 16,
  );
  const positions = Int32Array.from({ length: rows }, (_, row) => row % extents.windowLength);
  return { tokens, targets, positions, visibleFrom: new Int32Array(rows) };
}

function losses(steps: number): number[] {
  const network = new LlamaNetwork(shape, extents, seededRandom(1));
  const inside = (name: string): boolean => name.startsWith('blk.') && !name.includes('norm');
  const adam = new AdamW(
    network.weights.filter((weight) => !inside(weight.shape.name)),
    0.01,
  );
  const muon = new Muon(
    network.kernel,
    network.weights.filter((weight) => inside(weight.shape.name)),
    0.01,
  );
  return Array.from({ length: steps }, () => {
    const loss = network.learn(cycle());
    adam.step(0.01);
    muon.step(0.01);
    return loss;
  });
}

describe('training', () => {
  test('begins at the loss of a guess and learns a simple rule', () => {
    const history = losses(60);
    expect(history[0]).toBeCloseTo(Math.log(shape.vocabularySize), 0);
    expect(history.at(-1)).toBeLessThan(0.05);
  });

  test('twice the same is the same to the last bit', () => {
    expect(losses(8)).toEqual(losses(8));
  });
});
