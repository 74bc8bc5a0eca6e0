/** Causal multi-head attention over a batch of equally long windows: forward, and the gradient of each operand. */
import { exponential } from './exact-math.js';
import { BLOCK_COLUMNS, type Matrix, type MatrixKernel, type Window, windowOf } from './matrix-kernel.js';

/** Rows handled together: later rows of the window are not multiplied for earlier ones, which halves the work. */
const ROW_BLOCK = 64;

export type AttentionExtents = {
  readonly windows: number;
  readonly windowLength: number;
  readonly heads: number;
  readonly headWidth: number;
};

/** Scratch shared by all layers; one `Attention` serves one batch shape. */
export class Attention {
  readonly #kernel: MatrixKernel;
  readonly #extents: AttentionExtents;
  readonly #scale: number;
  readonly #transposedHead: Matrix;
  readonly #scoreGradient: Matrix;
  readonly #transposedScores: Matrix;

  constructor(kernel: MatrixKernel, extents: AttentionExtents) {
    const { windowLength, headWidth } = extents;
    if (windowLength % ROW_BLOCK !== 0 || headWidth % BLOCK_COLUMNS !== 0) throw new Error('attention extents do not fit the blocks');
    this.#kernel = kernel;
    this.#extents = extents;
    this.#scale = 1 / Math.sqrt(headWidth);
    this.#transposedHead = kernel.matrix(headWidth, windowLength);
    this.#scoreGradient = kernel.matrix(windowLength, windowLength);
    this.#transposedScores = kernel.matrix(windowLength, windowLength);
  }

  /** One matrix of probabilities for each window and head; the gradient needs them. */
  probabilities(): Matrix[] {
    const { windows, heads, windowLength } = this.#extents;
    return Array.from({ length: windows * heads }, () => this.#kernel.matrix(windowLength, windowLength));
  }

  /** `mixed += softmax(queries · keysᵀ / √width) · values`; `mixed` must hold zeros. A row sees the rows from `visibleFrom` to itself. */
  forward(operands: {
    visibleFrom: Int32Array;
    queries: Matrix;
    keys: Matrix;
    values: Matrix;
    mixed: Matrix;
    probabilities: readonly Matrix[];
  }): void {
    const { windowLength: length, headWidth } = this.#extents;
    this.#eachHead((firstRow, firstColumn, index) => {
      const at = (matrix: Matrix, row: number): Window => windowOf(matrix, firstRow + row, firstColumn);
      const scores = operands.probabilities[index] as Matrix;
      scores.values.fill(0);
      this.#transposeHead(operands.keys, firstRow, firstColumn);
      for (let row = 0; row < length; row += ROW_BLOCK) {
        const end = row + ROW_BLOCK;
        const scoreRows = windowOf(scores, row);
        this.#kernel.multiplyAddWindows(scoreRows, at(operands.queries, row), windowOf(this.#transposedHead), ROW_BLOCK, end, headWidth);
        for (let i = row; i < end; i++) {
          const from = operands.visibleFrom[firstRow + i] as number;
          causalSoftmax(scores.values.subarray(i * length, i * length + end), from, i + 1, this.#scale);
        }
        this.#kernel.multiplyAddWindows(at(operands.mixed, row), scoreRows, at(operands.values, 0), ROW_BLOCK, headWidth, end);
      }
    });
  }

  /** Adds to the gradients of queries, keys and values, given the gradient of `mixed`. */
  backward(operands: {
    queries: Matrix;
    keys: Matrix;
    values: Matrix;
    probabilities: readonly Matrix[];
    mixedGradient: Matrix;
    queryGradient: Matrix;
    keyGradient: Matrix;
    valueGradient: Matrix;
  }): void {
    const { windowLength: length, headWidth } = this.#extents;
    const kernel = this.#kernel;
    const scoreGradient = this.#scoreGradient;
    this.#eachHead((firstRow, firstColumn, index) => {
      const at = (matrix: Matrix, row: number): Window => windowOf(matrix, firstRow + row, firstColumn);
      const probabilities = operands.probabilities[index] as Matrix;
      scoreGradient.values.fill(0);
      this.#transposeHead(operands.values, firstRow, firstColumn);
      for (let row = 0; row < length; row += ROW_BLOCK) {
        const end = row + ROW_BLOCK;
        const rows = windowOf(scoreGradient, row);
        kernel.multiplyAddWindows(rows, at(operands.mixedGradient, row), windowOf(this.#transposedHead), ROW_BLOCK, end, headWidth);
        for (let i = row; i < end; i++) softmaxGradient(scoreGradient.values, probabilities.values, i * length, end, this.#scale);
        kernel.multiplyAddWindows(at(operands.queryGradient, row), rows, at(operands.keys, 0), ROW_BLOCK, headWidth, end);
      }
      this.#accumulateTransposed(scoreGradient, at(operands.queries, 0), (row) => at(operands.keyGradient, row));
      this.#accumulateTransposed(probabilities, at(operands.mixedGradient, 0), (row) => at(operands.valueGradient, row));
    });
  }

  /** `result += scoresᵀ · right`, where scores are zero above the diagonal. */
  #accumulateTransposed(scores: Matrix, right: Window, result: (row: number) => Window): void {
    const { windowLength: length, headWidth } = this.#extents;
    const transposed = this.#transposedScores;
    for (let row = 0; row < length; row++) {
      const end = row - (row % ROW_BLOCK) + ROW_BLOCK;
      for (let column = 0; column < end; column++)
        transposed.values[column * length + row] = scores.values[row * length + column] as number;
    }
    for (let row = 0; row < length; row += ROW_BLOCK) {
      const from: Window = { address: right.address + row * right.strideBytes, strideBytes: right.strideBytes };
      this.#kernel.multiplyAddWindows(result(row), windowOf(transposed, row, row), from, ROW_BLOCK, headWidth, length - row);
    }
  }

  #eachHead(visit: (firstRow: number, firstColumn: number, index: number) => void): void {
    const { windows, heads, windowLength, headWidth } = this.#extents;
    for (let window = 0; window < windows; window++) {
      for (let head = 0; head < heads; head++) visit(window * windowLength, head * headWidth, window * heads + head);
    }
  }

  #transposeHead(source: Matrix, firstRow: number, firstColumn: number): void {
    const { windowLength, headWidth } = this.#extents;
    const target = this.#transposedHead.values;
    for (let row = 0; row < windowLength; row++) {
      const from = (firstRow + row) * source.columns + firstColumn;
      for (let i = 0; i < headWidth; i++) target[i * windowLength + row] = source.values[from + i] as number;
    }
  }
}

/** Softmax of `scale` × the scores from `from` up to `to`, in place; zero outside. */
function causalSoftmax(scores: Float32Array, from: number, to: number, scale: number): void {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = from; i < to; i++) largest = Math.max(largest, scores[i] as number);
  let sum = 0;
  for (let i = from; i < to; i++) {
    const power = exponential(((scores[i] as number) - largest) * scale);
    scores[i] = power;
    sum += power;
  }
  const inverse = 1 / sum;
  for (let i = from; i < to; i++) scores[i] = (scores[i] as number) * inverse;
  scores.fill(0, 0, from);
  scores.fill(0, to);
}

/** Turns the gradient of probabilities into that of the scores before scaling, in place. */
function softmaxGradient(gradient: Float32Array, probabilities: Float32Array, start: number, end: number, scale: number): void {
  let dot = 0;
  for (let i = start; i < start + end; i++) dot += (gradient[i] as number) * (probabilities[i] as number);
  for (let i = start; i < start + end; i++) gradient[i] = (probabilities[i] as number) * ((gradient[i] as number) - dot) * scale;
}
