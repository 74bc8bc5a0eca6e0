import { describe, expect, test } from '@jest/globals';
import { seededRandom } from '../random.js';
import { type Matrix, MatrixKernel, windowOf } from './matrix-kernel.js';

const random = seededRandom(11);

function randomMatrix(kernel: MatrixKernel, rows: number, columns: number): Matrix {
  const matrix = kernel.matrix(rows, columns);
  for (let i = 0; i < matrix.values.length; i++) matrix.values[i] = random.below(9) - 4;
  return matrix;
}

describe('MatrixKernel', () => {
  test.each([
    [4, 8, 1],
    [8, 16, 3],
    [12, 24, 256],
    [4, 8, 257],
    [64, 32, 700],
  ])('a %d × %d product of depth %d is that of the plain loops, added to what was there', (rows, columns, depth) => {
    const kernel = new MatrixKernel(4_000_000);
    const [left, right, result] = [
      randomMatrix(kernel, rows, depth),
      randomMatrix(kernel, depth, columns),
      randomMatrix(kernel, rows, columns),
    ];
    const expected = Array.from(result.values, (before, at) => {
      let sum = before;
      for (let k = 0; k < depth; k++) {
        sum += (left.values[Math.floor(at / columns) * depth + k] ?? 0) * (right.values[k * columns + (at % columns)] ?? 0);
      }
      return sum;
    });
    kernel.multiplyAdd(result, left, right);
    // Small whole numbers: exact in 32-bit floats, whatever the order.
    expect(Array.from(result.values)).toEqual(expected);
  });

  test('a window changes nothing outside it', () => {
    const kernel = new MatrixKernel(100_000);
    const [left, right, result] = [randomMatrix(kernel, 4, 8), randomMatrix(kernel, 8, 8), kernel.matrix(12, 24)];
    kernel.multiplyAddWindows(windowOf(result, 4, 8), windowOf(left), windowOf(right), 4, 8, 8);
    const changed = Array.from(result.values.entries()).filter(([, value]) => value !== 0);
    expect(changed.length).toBeGreaterThan(16);
    expect(changed.every(([at]) => at >= 4 * 24 && at < 8 * 24 && at % 24 >= 8 && at % 24 < 16)).toBe(true);
  });

  test('extents that the kernel cannot cut into blocks throw', () => {
    const kernel = new MatrixKernel(10_000);
    const matrix = kernel.matrix(6, 8);
    expect(() => kernel.multiplyAdd(matrix, matrix, matrix)).toThrow('cannot multiply into 6 × 8');
  });

  test('more than the capacity throws', () => {
    expect(() => new MatrixKernel(1000).matrix(1000, 1000)).toThrow('too small');
  });
});
