/**
 * Q8_0, the 8-bit weight format of ggml: blocks of 32 values that share one half-precision scale, the largest magnitude divided by 127.
 * Source: `block_q8_0` and `quantize_row_q8_0_ref` in https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-quants.c
 */

/** Values in one block; a row's length must be a multiple of it. */
export const Q8_0_BLOCK_VALUES = 32;
const Q8_0_BLOCK_BYTES = 2 + Q8_0_BLOCK_VALUES;
const QUANT_MAX = 127;

/** Little-endian blocks of the values, in order. Throws when the count is not a whole number of blocks. */
export function quantizeQ8_0(values: Float32Array): Uint8Array {
  if (values.length % Q8_0_BLOCK_VALUES !== 0) throw new Error(`${values.length} values are not a whole number of Q8_0 blocks`);
  const blockCount = values.length / Q8_0_BLOCK_VALUES;
  const bytes = new Uint8Array(blockCount * Q8_0_BLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < blockCount; block++) {
    const from = block * Q8_0_BLOCK_VALUES;
    const to = block * Q8_0_BLOCK_BYTES;
    let largest = 0;
    for (let i = 0; i < Q8_0_BLOCK_VALUES; i++) largest = Math.max(largest, Math.abs(values[from + i] ?? 0));
    const scale = Math.fround(largest / QUANT_MAX);
    view.setUint16(to, halfPrecisionBits(scale), true);
    const inverse = scale === 0 ? 0 : 1 / scale;
    for (let i = 0; i < Q8_0_BLOCK_VALUES; i++) {
      const scaled = (values[from + i] ?? 0) * inverse;
      view.setInt8(to + 2 + i, Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5));
    }
  }
  return bytes;
}

const HALF_MAX = 65504;
const HALF_SUBNORMAL_STEP = 2 ** -24;
const HALF_NORMAL_MIN = 2 ** -14;

/** IEEE 754 binary16 bits of a non-negative finite number, rounded to nearest, ties to even. Throws above 65,504. */
export function halfPrecisionBits(value: number): number {
  if (!(value >= 0 && value <= HALF_MAX)) throw new Error(`${value} has no half-precision form here`);
  if (value < HALF_NORMAL_MIN) return roundHalfToEven(value / HALF_SUBNORMAL_STEP);
  let exponent = 0;
  let fraction = value;
  while (fraction >= 2) {
    fraction /= 2;
    exponent++;
  }
  while (fraction < 1) {
    fraction *= 2;
    exponent--;
  }
  // A mantissa that rounds up to 1024 carries into the exponent, which is what the addition does.
  return ((exponent + 15) << 10) + roundHalfToEven((fraction - 1) * 1024);
}

function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest > 0.5 || (rest === 0.5 && floor % 2 === 1)) return floor + 1;
  return floor;
}
