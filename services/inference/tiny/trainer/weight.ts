/** A trainable weight: its values, their gradient, and the transposed copy that the forward pass multiplies by. */
import type { Random } from '../random.js';
import type { Matrix, MatrixKernel } from './matrix-kernel.js';
import { type NetworkShape, type WeightShape, weightShapes } from './network-shape.js';

export type Weight = {
  readonly shape: WeightShape;
  /** Rows are outputs, columns inputs, as in the file. */
  readonly values: Matrix;
  readonly gradient: Matrix;
  /** Columns × rows; null for gains. */
  readonly transposed: Matrix | null;
};

/** Writes the transposed source over the target. */
export function transpose(target: Matrix, source: Matrix, rows = source.rows): void {
  const { columns } = source;
  const stride = target.columns;
  for (let row = 0; row < rows; row++) {
    const from = row * columns;
    for (let column = 0; column < columns; column++) target.values[column * stride + row] = source.values[from + column] as number;
  }
}

/** Standard deviation of the initial embeddings; other matrices are scaled by their inputs. */
const EMBEDDING_DEVIATION = 0.02;

export function initialWeights(kernel: MatrixKernel, network: NetworkShape, random: Random): Weight[] {
  return weightShapes(network).map((shape) => {
    const values = kernel.matrix(shape.rows, shape.columns);
    if (shape.kind === 'gain') values.values.fill(1);
    else {
      const deviation = initialDeviation(shape);
      for (let i = 0; i < values.values.length; i++) values.values[i] = random.normal() * deviation;
    }
    return {
      shape,
      values,
      gradient: kernel.matrix(shape.rows, shape.columns),
      transposed: shape.kind === 'matrix' ? kernel.matrix(shape.columns, shape.rows) : null,
    };
  });
}

/** Matrices that write into the residual stream start at zero, so that each layer begins as the identity. */
function initialDeviation(shape: WeightShape): number {
  if (shape.name.startsWith('token_embd')) return EMBEDDING_DEVIATION;
  return /attn_output|ffn_down/.test(shape.name) ? 0 : Math.sqrt(1 / shape.columns);
}
