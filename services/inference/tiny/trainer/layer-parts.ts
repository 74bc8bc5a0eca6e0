/** The element-wise parts of a llama layer with their gradients: root-mean-square normalisation and the SwiGLU gate. */
import { exponential } from './exact-math.js';
import type { Matrix } from './matrix-kernel.js';

/** `output = input / rms(input) · gain`, row by row; keeps the inverse root mean squares for the gradient. */
export function normalize(output: Matrix, input: Matrix, gain: Matrix, inverses: Float32Array, rows: number, epsilon: number): void {
  const width = input.columns;
  for (let row = 0; row < rows; row++) {
    const start = row * width;
    let squares = 0;
    for (let i = start; i < start + width; i++) squares += (input.values[i] as number) * (input.values[i] as number);
    const inverse = 1 / Math.sqrt(squares / width + epsilon);
    inverses[row] = inverse;
    for (let i = 0; i < width; i++) output.values[start + i] = (input.values[start + i] as number) * inverse * (gain.values[i] as number);
  }
}

/** Adds to the gradients of input and gain, given that of the output. */
export function normalizeGradient(parts: {
  outputGradient: Matrix;
  input: Matrix;
  inputGradient: Matrix;
  gain: Matrix;
  gainGradient: Matrix;
  inverses: Float32Array;
  rows: number;
}): void {
  const { outputGradient, input, inputGradient, gain, gainGradient, inverses, rows } = parts;
  const width = input.columns;
  for (let row = 0; row < rows; row++) {
    const start = row * width;
    const inverse = inverses[row] as number;
    let dot = 0;
    for (let i = 0; i < width; i++) {
      const product = (outputGradient.values[start + i] as number) * (input.values[start + i] as number);
      gainGradient.values[i] = (gainGradient.values[i] as number) + product * inverse;
      dot += product * (gain.values[i] as number);
    }
    const shared = (dot * inverse * inverse * inverse) / width;
    for (let i = 0; i < width; i++) {
      const direct = (outputGradient.values[start + i] as number) * (gain.values[i] as number) * inverse;
      inputGradient.values[start + i] = (inputGradient.values[start + i] as number) + direct - (input.values[start + i] as number) * shared;
    }
  }
}

/** `output = silu(gate) · up`. */
export function gateForward(output: Matrix, gate: Matrix, up: Matrix, count: number): void {
  for (let i = 0; i < count; i++) {
    const x = gate.values[i] as number;
    output.values[i] = (x / (1 + exponential(-x))) * (up.values[i] as number);
  }
}

/** Overwrites the gradients of gate and up, given that of the output. */
export function gateBackward(parts: {
  outputGradient: Matrix;
  gate: Matrix;
  up: Matrix;
  gateGradient: Matrix;
  upGradient: Matrix;
  count: number;
}): void {
  const { outputGradient, gate, up, gateGradient, upGradient, count } = parts;
  for (let i = 0; i < count; i++) {
    const x = gate.values[i] as number;
    const sigmoid = 1 / (1 + exponential(-x));
    const incoming = outputGradient.values[i] as number;
    upGradient.values[i] = incoming * x * sigmoid;
    gateGradient.values[i] = incoming * (up.values[i] as number) * sigmoid * (1 + x * (1 - sigmoid));
  }
}
