/**
 * Writes GGUF version 3, the file format llama.cpp loads models from: a header, typed metadata, tensor descriptions and
 * aligned tensor bytes, all little-endian.
 * Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */

const GGUF_MAGIC = 'GGUF';
const GGUF_VERSION = 3;
/** Default of `general.alignment`: every tensor starts at a multiple of it. */
export const GGUF_ALIGNMENT_BYTES = 32;

/** `gguf_metadata_value_type` of the specification. */
const VALUE_TYPE = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

export type GgufValue =
  | { readonly type: 'u32'; readonly value: number }
  | { readonly type: 'f32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'i32[]'; readonly value: readonly number[] }
  | { readonly type: 'string[]'; readonly value: readonly string[] };

/** `ggml_type` of the specification, for the two that are written here. */
const TENSOR_TYPE = { F32: 0, Q8_0: 8 } as const;

export type GgufTensor = {
  readonly name: string;
  readonly type: keyof typeof TENSOR_TYPE;
  /** Extents with the fastest-varying first: a matrix of `rows` × `columns` is `[columns, rows]`. */
  readonly extents: readonly number[];
  /** As they lie in the file: little-endian floats or quantised blocks. */
  readonly bytes: Uint8Array;
};

export type GgufFile = {
  /** In the order in which they are written. */
  readonly metadata: readonly (readonly [key: string, value: GgufValue])[];
  readonly tensors: readonly GgufTensor[];
};

/** The bytes of a file; equal input gives equal bytes. */
export function writeGguf(file: GgufFile): Uint8Array {
  const head = new ByteSink();
  head.bytes(new TextEncoder().encode(GGUF_MAGIC));
  head.u32(GGUF_VERSION);
  head.u64(file.tensors.length);
  head.u64(file.metadata.length);
  for (const [key, value] of file.metadata) {
    head.string(key);
    writeValue(head, value);
  }
  let offset = 0;
  for (const tensor of file.tensors) {
    head.string(tensor.name);
    head.u32(tensor.extents.length);
    for (const extent of tensor.extents) head.u64(extent);
    head.u32(TENSOR_TYPE[tensor.type]);
    head.u64(offset);
    offset = aligned(offset + tensor.bytes.length);
  }
  head.padTo(GGUF_ALIGNMENT_BYTES);
  for (const tensor of file.tensors) {
    head.bytes(tensor.bytes);
    head.padTo(GGUF_ALIGNMENT_BYTES);
  }
  return head.finish();
}

function aligned(offset: number): number {
  return Math.ceil(offset / GGUF_ALIGNMENT_BYTES) * GGUF_ALIGNMENT_BYTES;
}

function writeValue(sink: ByteSink, entry: GgufValue): void {
  switch (entry.type) {
    case 'u32':
      sink.u32(VALUE_TYPE.u32);
      sink.u32(entry.value);
      break;
    case 'f32':
      sink.u32(VALUE_TYPE.f32);
      sink.f32(entry.value);
      break;
    case 'bool':
      sink.u32(VALUE_TYPE.bool);
      sink.u8(entry.value ? 1 : 0);
      break;
    case 'string':
      sink.u32(VALUE_TYPE.string);
      sink.string(entry.value);
      break;
    case 'i32[]':
      sink.arrayHead(VALUE_TYPE.i32, entry.value.length);
      for (const element of entry.value) sink.i32(element);
      break;
    case 'string[]':
      sink.arrayHead(VALUE_TYPE.string, entry.value.length);
      for (const element of entry.value) sink.string(element);
      break;
    default:
      unreachable(entry);
  }
}

function unreachable(entry: never): never {
  throw new Error(`unknown metadata value ${JSON.stringify(entry)}`);
}

/** Grows by doubling; the view is renewed when the buffer is. */
class ByteSink {
  #buffer = new Uint8Array(1 << 16);
  #view = new DataView(this.#buffer.buffer);
  #length = 0;

  #reserve(count: number): number {
    const start = this.#length;
    this.#length += count;
    if (this.#length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(this.#buffer.length * 2, this.#length));
      larger.set(this.#buffer);
      this.#buffer = larger;
      this.#view = new DataView(larger.buffer);
    }
    return start;
  }

  u8(value: number): void {
    const at = this.#reserve(1);
    this.#view.setUint8(at, value);
  }
  u32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, true);
  }
  i32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setInt32(at, value, true);
  }
  f32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setFloat32(at, value, true);
  }
  u64(value: number): void {
    const at = this.#reserve(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }
  bytes(source: Uint8Array): void {
    const at = this.#reserve(source.length);
    this.#buffer.set(source, at);
  }
  /** Length in bytes, then UTF-8 without a terminator. */
  string(text: string): void {
    const encoded = new TextEncoder().encode(text);
    this.u64(encoded.length);
    this.bytes(encoded);
  }
  arrayHead(elementType: number, length: number): void {
    this.u32(VALUE_TYPE.array);
    this.u32(elementType);
    this.u64(length);
  }
  padTo(alignment: number): void {
    this.#reserve((alignment - (this.#length % alignment)) % alignment);
  }
  finish(): Uint8Array {
    return this.#buffer.slice(0, this.#length);
  }
}
