/** What the gradient of a layer needs of its forward pass, kept in memory that is allocated once. */
import type { Attention } from './attention.js';
import type { Matrix, MatrixKernel } from './matrix-kernel.js';
import type { NetworkShape } from './network-shape.js';

export type LayerActivations = {
  readonly input: Matrix;
  readonly attentionNormed: Matrix;
  readonly attentionInverses: Float32Array;
  readonly queries: Matrix;
  readonly keys: Matrix;
  readonly values: Matrix;
  readonly probabilities: readonly Matrix[];
  readonly mixed: Matrix;
  readonly middle: Matrix;
  readonly feedForwardNormed: Matrix;
  readonly feedForwardInverses: Float32Array;
  readonly gated: Matrix;
  readonly raised: Matrix;
  readonly activated: Matrix;
};

export function layerActivations(kernel: MatrixKernel, attention: Attention, rows: number, shape: NetworkShape): LayerActivations {
  const narrow = (): Matrix => kernel.matrix(rows, shape.width);
  const wide = (): Matrix => kernel.matrix(rows, shape.feedForwardWidth);
  return {
    input: narrow(),
    attentionNormed: narrow(),
    attentionInverses: new Float32Array(rows),
    queries: narrow(),
    keys: narrow(),
    values: narrow(),
    probabilities: attention.probabilities(),
    mixed: narrow(),
    middle: narrow(),
    feedForwardNormed: narrow(),
    feedForwardInverses: new Float32Array(rows),
    gated: wide(),
    raised: wide(),
    activated: wide(),
  };
}
