/**
 * The AdamW update: each value moves by its smoothed gradient over the root of its smoothed square, and matrices shrink a little.
 * Sources: Kingma and Ba 2015, "Adam"; Loshchilov and Hutter 2019 for the decoupled decay.
 */
import type { Weight } from './weight.js';

const MEAN_SMOOTHING = 0.9;
const SQUARE_SMOOTHING = 0.98;
const ROOT_FLOOR = 1e-8;
/** Longest gradient, over all weights, that is applied unshortened. */
const GRADIENT_NORM_MAX = 1;

export class AdamW {
  readonly #weights: readonly Weight[];
  readonly #decay: number;
  readonly #means: readonly Float32Array[];
  readonly #squares: readonly Float32Array[];
  #meanCorrection = 1;
  #squareCorrection = 1;

  /** @param decay share of a matrix's value taken away per unit of learning rate. */
  constructor(weights: readonly Weight[], decay: number) {
    this.#weights = weights;
    this.#decay = decay;
    this.#means = weights.map((weight) => new Float32Array(weight.values.values.length));
    this.#squares = weights.map((weight) => new Float32Array(weight.values.values.length));
  }

  /** Applies the gradients that the weights hold. */
  step(learningRate: number): void {
    this.#meanCorrection *= MEAN_SMOOTHING;
    this.#squareCorrection *= SQUARE_SMOOTHING;
    const meanScale = 1 / (1 - this.#meanCorrection);
    const squareScale = 1 / (1 - this.#squareCorrection);
    const shortened = Math.min(1, GRADIENT_NORM_MAX / (gradientNorm(this.#weights) + 1e-12));
    this.#weights.forEach((weight, index) => {
      const values = weight.values.values;
      const gradient = weight.gradient.values;
      const means = this.#means[index] as Float32Array;
      const squares = this.#squares[index] as Float32Array;
      const kept = weight.shape.kind === 'matrix' ? 1 - learningRate * this.#decay : 1;
      for (let i = 0; i < values.length; i++) {
        const slope = (gradient[i] as number) * shortened;
        const mean = (means[i] as number) * MEAN_SMOOTHING + slope * (1 - MEAN_SMOOTHING);
        const square = (squares[i] as number) * SQUARE_SMOOTHING + slope * slope * (1 - SQUARE_SMOOTHING);
        means[i] = mean;
        squares[i] = square;
        values[i] = (values[i] as number) * kept - (learningRate * mean * meanScale) / (Math.sqrt(square * squareScale) + ROOT_FLOOR);
      }
    });
  }
}

function gradientNorm(weights: readonly Weight[]): number {
  let squares = 0;
  for (const { gradient } of weights) for (const slope of gradient.values) squares += slope * slope;
  return Math.sqrt(squares);
}
