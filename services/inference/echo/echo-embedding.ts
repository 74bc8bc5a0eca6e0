/**
 * The vectors of the echo engine: equal texts have equal ones, others have nothing to do with each other. The first numbers of a longer vector are
 * in proportion those of a shorter one, as with models whose vectors may be cut.
 */
import { createHash } from 'node:crypto';
import type { Prompt } from '../../../events/contract/index.js';
import { textOfPrompt } from './echo-tokens.js';

export const ECHO_DIMENSIONS_DEFAULT = 64;
/** Above that of any model in the catalogues; a vector of it is 16 KiB. */
export const ECHO_DIMENSIONS_MAX = 4_096;

const BYTES_PER_NUMBER = 4;
const HALF_OF_RANGE = 2 ** 31;

/** Of unit length. */
export function echoVector(input: Prompt, dimensions: number): Float32Array {
  // An extendable-output function: more output continues the same one.
  const bytes = createHash('shake256', { outputLength: dimensions * BYTES_PER_NUMBER })
    .update(textOfPrompt(input))
    .digest();
  const numbers = Float64Array.from({ length: dimensions }, (_, index) => bytes.readUInt32LE(index * BYTES_PER_NUMBER) / HALF_OF_RANGE - 1);
  const length = Math.hypot(...numbers);
  // One number alone may be 0; then any direction will do.
  return Float32Array.from(numbers, (number) => (length === 0 ? 1 : number / length));
}
