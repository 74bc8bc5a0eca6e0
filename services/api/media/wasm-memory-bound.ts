/**
 * Bounds what one WebAssembly memory of this thread may grow to. A thread's limits are V8's heap only, and decoders take their memory outside of
 * it. Emscripten takes a growth that fails for an allocation that fails, and the codec for a file that it cannot decode.
 */

const PAGE_BYTES = 65_536;

/** The part of the JavaScript API that is used here; Node has it, its types do not. */
type Memory = { readonly buffer: ArrayBuffer; grow(pages: number): number };
declare const WebAssembly: { readonly Memory: { readonly prototype: Memory } };

export function boundWebAssemblyMemory(bytesMax: number): void {
  const grow = WebAssembly.Memory.prototype.grow;
  WebAssembly.Memory.prototype.grow = function boundedGrow(this: Memory, pages: number): number {
    if (this.buffer.byteLength + pages * PAGE_BYTES > bytesMax) throw new RangeError('the memory bound of decoders');
    return grow.call(this, pages);
  };
}
