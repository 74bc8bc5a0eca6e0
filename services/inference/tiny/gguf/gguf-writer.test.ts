import { describe, expect, test } from '@jest/globals';
import { GGUF_ALIGNMENT_BYTES, writeGguf } from './gguf-writer.js';

/** A file of one entry and one tensor, byte by byte as the specification lays it out. */
const GOLDEN = [
  '47475546', // "GGUF"
  '03000000', // version 3
  '0100000000000000', // one tensor
  '0100000000000000', // one metadata entry
  '0100000000000000', // key: one byte,
  '6b', // "k"
  '08000000', // a string
  '0200000000000000', // of two bytes,
  'c3a9', // "é"
  '0100000000000000', // tensor name: one byte,
  '74', // "t"
  '01000000', // one dimension
  '0200000000000000', // of two values
  '00000000', // F32
  '0000000000000000', // at offset 0
  '00'.repeat(16), // up to a multiple of 32 (80 bytes so far)
  '0000803f00000040', // 1.0, 2.0
  '00'.repeat(24),
].join('');

describe('writeGguf', () => {
  test('lays out header, metadata, tensor description and aligned bytes as the specification says', () => {
    const bytes = writeGguf({
      metadata: [['k', { type: 'string', value: 'é' }]],
      tensors: [{ name: 't', type: 'F32', extents: [2], bytes: new Uint8Array(new Float32Array([1, 2]).buffer) }],
    });
    expect(Buffer.from(bytes).toString('hex')).toBe(GOLDEN);
  });

  test.each([
    ['u32', { type: 'u32', value: 7 }, '0400000007000000'],
    ['f32', { type: 'f32', value: 0.5 }, '060000000000003f'],
    ['bool', { type: 'bool', value: true }, '0700000001'],
    ['i32[]', { type: 'i32[]', value: [-1] }, '09000000050000000100000000000000ffffffff'],
    ['string[]', { type: 'string[]', value: ['a'] }, '090000000800000001000000000000000100000000000000' + '61'],
  ] as const)('writes a %s with its type number', (_, value, expected) => {
    const bytes = writeGguf({ metadata: [['k', value]], tensors: [] });
    const start = 4 + 4 + 8 + 8 + 8 + 1;
    expect(Buffer.from(bytes.subarray(start, start + expected.length / 2)).toString('hex')).toBe(expected);
  });

  test('every tensor starts at a multiple of the alignment, with zeros between', () => {
    const tensor = (name: string, length: number) =>
      ({ name, type: 'F32', extents: [length / 4], bytes: new Uint8Array(length).fill(0xff) }) as const;
    const bytes = writeGguf({ metadata: [], tensors: [tensor('a', 4), tensor('b', 36), tensor('c', 32)] });
    const body = bytes.subarray(bytes.length - 4 * GGUF_ALIGNMENT_BYTES);
    const filled = Array.from(
      { length: 4 },
      (_, block) => body.subarray(block * 32, block * 32 + 32).filter((byte) => byte === 0xff).length,
    );
    expect(filled).toEqual([4, 32, 4, 32]);
    expect(bytes.length % GGUF_ALIGNMENT_BYTES).toBe(0);
  });
});
