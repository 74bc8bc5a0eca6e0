/**
 * Decodes audio in threads of their own: a file is recognised, waits its turn in a bounded queue, and has bounded time and memory. A thread that
 * hangs or dies takes one file with it; the next file gets a new thread.
 */
import { Worker } from 'node:worker_threads';
import type { Scheduler } from '../../../platform/scheduler.js';
import { AUDIO_SECONDS_MAX, type DecodeResult } from './audio-format.js';
import { audioKindOf } from './audio-kind.js';
import type { DecodeOrder } from './decoder-thread.js';

/** Cores are the engines'; half an hour of AAC takes one thread some seconds. */
export const DECODERS_MAX = 2;

/** Files waiting for a decoder. One more is refused, as it would wait for minutes. */
export const DECODES_WAITING_MAX = 16;

/** Half an hour at twenty times the speed of sound, on a slow machine that is busy. */
export const DECODE_MS_MAX = 90_000;

/** Of JavaScript's heap in one thread; the demultiplexer's own objects are small. */
const HEAP_MB_MAX = 256;

const THREAD_PATH = new URL('./decoder-thread.js', import.meta.url);

export type DecodedAudio =
  | Extract<DecodeResult, { status: 'decoded' }>
  | { readonly status: 'refused'; readonly reason: RefusedAudio; readonly message: string };

export type RefusedAudio = Extract<DecodeResult, { status: 'refused' }>['reason'] | 'not_audio' | 'too_slow' | 'at_capacity';

type Waiting = { readonly file: Uint8Array<ArrayBuffer>; readonly resolve: (decoded: DecodedAudio) => void };

export type AudioDecoderOptions = { readonly scheduler: Scheduler; readonly secondsMax?: number; readonly decodeMsMax?: number };

export class AudioDecoder {
  readonly #options: AudioDecoderOptions;
  readonly #idle: Worker[] = [];
  readonly #waiting: Waiting[] = [];
  #busy = 0;
  #closed = false;

  constructor(options: AudioDecoderOptions) {
    this.#options = options;
  }

  /** Takes the file's memory over. Never rejects. */
  decode(file: Uint8Array<ArrayBuffer>): Promise<DecodedAudio> {
    if (audioKindOf(file) === null) {
      return Promise.resolve(
        refused('not_audio', 'The file is no audio that is supported: MP3, WAV, M4A or WebM, whatever its name says.'),
      );
    }
    if (this.#closed || this.#waiting.length >= DECODES_WAITING_MAX) {
      return Promise.resolve(refused('at_capacity', 'Too many recordings are waiting to be decoded.'));
    }
    return new Promise((resolve) => {
      this.#waiting.push({ file, resolve });
      this.#next();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { resolve } of this.#waiting.splice(0)) resolve(refused('at_capacity', 'The service is shutting down.'));
    await Promise.all(this.#idle.splice(0).map((thread) => thread.terminate()));
  }

  #next(): void {
    if (this.#busy >= DECODERS_MAX) return;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) return;
    this.#busy += 1;
    const thread = this.#idle.pop() ?? startThread();
    void this.#decodeIn(thread, waiting.file).then((decoded) => {
      this.#busy -= 1;
      waiting.resolve(decoded);
      this.#next();
    });
  }

  #decodeIn(thread: Worker, file: Uint8Array<ArrayBuffer>): Promise<DecodedAudio> {
    const { scheduler, secondsMax = AUDIO_SECONDS_MAX, decodeMsMax = DECODE_MS_MAX } = this.#options;
    return new Promise((resolve) => {
      const end = (decoded: DecodedAudio, isReusable: boolean) => {
        callOff();
        // By name: the thread's own plumbing listens too.
        for (const event of ['message', 'error', 'exit']) thread.removeAllListeners(event);
        if (isReusable && !this.#closed) this.#idle.push(thread);
        else {
          // A thread that is being ended may still fail; nobody waits for it any more.
          thread.on('error', () => {});
          void thread.terminate();
        }
        resolve(decoded);
      };
      const callOff = scheduler.delay(() => end(refused('too_slow', 'The file could not be decoded in time.'), false), decodeMsMax);
      thread.once('message', (result: DecodeResult) => end(result, true));
      thread.once('error', () => end(refused('damaged', 'The file could not be decoded.'), false));
      thread.once('exit', () => end(refused('damaged', 'The file could not be decoded.'), false));
      thread.postMessage({ file, secondsMax } satisfies DecodeOrder, [file.buffer]);
    });
  }
}

function startThread(): Worker {
  const thread = new Worker(THREAD_PATH, {
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB_MAX },
    env: {},
    execArgv: [],
    stdout: true,
    stderr: true,
  });
  // Libraries remark on every packet that is broken; strangers' files do not write our log.
  thread.stdout.resume();
  thread.stderr.resume();
  // An idle thread keeps no process alive.
  thread.unref();
  return thread;
}

function refused(reason: RefusedAudio, message: string): DecodedAudio {
  return { status: 'refused', reason, message };
}
