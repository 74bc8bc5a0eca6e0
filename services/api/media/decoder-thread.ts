/** The thread that decodes audio files, one at a time. It is ended from outside when it takes too long; what it was given never touches the event loop. */
import { parentPort } from 'node:worker_threads';
import { decodeAudio } from './decode-audio.js';
import { boundWebAssemblyMemory } from './wasm-memory-bound.js';

/** FFmpeg needs some megabytes for its codecs and filters; a file that makes it want more is no recording. */
const WASM_BYTES_MAX = 256 * 1024 * 1024;

export type DecodeOrder = { readonly file: Uint8Array; readonly secondsMax: number };

boundWebAssemblyMemory(WASM_BYTES_MAX);

parentPort?.on('message', async ({ file, secondsMax }: DecodeOrder) => {
  const result = await decodeAudio(file, secondsMax);
  parentPort?.postMessage(result, result.status === 'decoded' ? [result.samples.buffer] : []);
});
