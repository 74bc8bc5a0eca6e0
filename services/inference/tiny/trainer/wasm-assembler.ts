/**
 * Just enough of a WebAssembly assembler to write one numeric kernel: instructions are arrays of bytes that are spliced together.
 * Source of the encodings: https://webassembly.github.io/spec/core/binary/index.html
 */

export type Code = readonly (number | Code)[];

export const I32 = 0x7f;
export const V128 = 0x7b;
const EMPTY_BLOCK = 0x40;
const FUNCTION_TYPE = 0x60;

/** Unsigned LEB128. */
function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    bytes.push(rest === 0 ? low : low | 0x80);
  } while (rest !== 0);
  return bytes;
}

/** Signed LEB128. */
function signed(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (;;) {
    const low = rest & 0x7f;
    rest >>= 7;
    const done = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0);
    bytes.push(done ? low : low | 0x80);
    if (done) return bytes;
  }
}

const SIMD_PREFIX = 0xfd;

export const get = (local: number): Code => [0x20, unsigned(local)];
export const set = (local: number, value: Code): Code => [value, 0x21, unsigned(local)];
export const i32 = (value: number): Code => [0x41, signed(value)];
export const add = (left: Code, right: Code): Code => [left, right, 0x6a];
export const subtract = (left: Code, right: Code): Code => [left, right, 0x6b];
export const multiply = (left: Code, right: Code): Code => [left, right, 0x6c];
/** Runs the body, then again as long as the counter, lowered by `step`, is not zero. */
export const countDown = (counter: number, step: number, body: Code): Code => [
  0x03,
  EMPTY_BLOCK,
  body,
  set(counter, subtract(get(counter), i32(step))),
  get(counter),
  0x0d,
  0x00,
  0x0b,
];
/** Loads and stores carry an alignment hint (2: four bytes, 0: none) and a constant offset. */
export const loadVector = (address: Code, offset: number): Code => [address, SIMD_PREFIX, 0x00, 0x02, unsigned(offset)];
export const loadSplat32 = (address: Code): Code => [address, SIMD_PREFIX, 0x09, 0x02, 0x00];
export const storeVector = (address: Code, offset: number, value: Code): Code => [
  address,
  value,
  SIMD_PREFIX,
  0x0b,
  0x02,
  unsigned(offset),
];
export const addVectors = (left: Code, right: Code): Code => [left, right, SIMD_PREFIX, 0xe4, 0x01];
export const multiplyVectors = (left: Code, right: Code): Code => [left, right, SIMD_PREFIX, 0xe6, 0x01];

export type KernelModule = {
  /** Exported name of the function; it takes `parameters` i32 values and returns nothing. */
  readonly name: string;
  readonly parameters: number;
  readonly locals: readonly { readonly type: typeof I32 | typeof V128; readonly count: number }[];
  readonly body: Code;
  /** Pages of 64 KiB of the exported `memory`, which never grows. */
  readonly memoryPages: number;
};

function flatten(code: Code, into: number[]): number[] {
  for (const part of code) {
    if (typeof part === 'number') into.push(part);
    else flatten(part, into);
  }
  return into;
}

function section(id: number, content: Code): number[] {
  const bytes = flatten(content, []);
  return [id, ...unsigned(bytes.length), ...bytes];
}

function name(text: string): Code {
  const bytes = Array.from(new TextEncoder().encode(text));
  return [unsigned(bytes.length), bytes];
}

/** The binary module: one function and one memory. */
export function assembleModule(kernel: KernelModule): Uint8Array {
  const locals: Code = [unsigned(kernel.locals.length), kernel.locals.map(({ type, count }) => [unsigned(count), type])];
  const body = flatten([locals, kernel.body, 0x0b], []);
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, [1, FUNCTION_TYPE, unsigned(kernel.parameters), new Array<number>(kernel.parameters).fill(I32), 0]),
    ...section(3, [1, 0]),
    ...section(5, [1, 1, unsigned(kernel.memoryPages), unsigned(kernel.memoryPages)]),
    ...section(7, [2, name(kernel.name), 0x00, 0, name('memory'), 0x02, 0]),
    ...section(10, [1, unsigned(body.length), body]),
  ]);
}
