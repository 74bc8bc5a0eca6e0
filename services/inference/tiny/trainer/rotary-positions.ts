/**
 * Rotary position embedding in the interleaved form of llama.cpp's `llama` architecture: neighbours (2i, 2i+1) of each head are turned by
 * position × base^(-2i / head width). Source: Su et al. 2021, "RoFormer".
 */
import { cosineAndSine } from './exact-math.js';
import type { Matrix } from './matrix-kernel.js';

export class RotaryPositions {
  readonly #cosines: Float32Array;
  readonly #sines: Float32Array;
  readonly #pairs: number;
  readonly #frequencies: Float64Array;

  /** @param headWidth must be a power of two, so that the frequencies come from exact square roots. */
  constructor(headWidth: number, base: number, rowsMax: number) {
    this.#pairs = headWidth / 2;
    // base^(-1/pairs) by repeated square roots: exact to the last bit everywhere, which Math.pow is not.
    let ratio = 1 / base;
    for (let roots = this.#pairs; roots > 1; roots /= 2) ratio = Math.sqrt(ratio);
    this.#frequencies = new Float64Array(this.#pairs);
    let frequency = 1;
    for (let pair = 0; pair < this.#pairs; pair++) {
      this.#frequencies[pair] = frequency;
      frequency *= ratio;
    }
    this.#cosines = new Float32Array(rowsMax * this.#pairs);
    this.#sines = new Float32Array(rowsMax * this.#pairs);
  }

  /** Sets the position of each row of the matrices turned from here on. */
  place(positions: Int32Array): void {
    for (let row = 0; row < positions.length; row++) {
      for (let pair = 0; pair < this.#pairs; pair++) {
        const [cosine, sine] = cosineAndSine((positions[row] as number) * (this.#frequencies[pair] as number));
        this.#cosines[row * this.#pairs + pair] = cosine;
        this.#sines[row * this.#pairs + pair] = sine;
      }
    }
  }

  /** Turns every head of every row; `direction` -1 turns back, which is the gradient's way. */
  turn(matrix: Matrix, rows: number, direction: 1 | -1): void {
    const { values, columns } = matrix;
    const pairs = this.#pairs;
    for (let row = 0; row < rows; row++) {
      const angles = row * pairs;
      for (let at = row * columns, pair = 0; at < (row + 1) * columns; at += 2, pair = pair + 1 === pairs ? 0 : pair + 1) {
        const cosine = this.#cosines[angles + pair] as number;
        const sine = (this.#sines[angles + pair] as number) * direction;
        const even = values[at] as number;
        const odd = values[at + 1] as number;
        values[at] = even * cosine - odd * sine;
        values[at + 1] = even * sine + odd * cosine;
      }
    }
  }
}
