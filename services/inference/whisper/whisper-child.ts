/**
 * The process that holds the whisper model. It is forked by `WhisperEngine` with `UV_THREADPOOL_SIZE=1`, takes one recording at a time over IPC
 * and dies with its parent. A crash in whisper.cpp ends this process and nothing else.
 */
import { stat } from 'node:fs/promises';
import type { Transcript } from '../engine.js';
import type { FromWhisperChild, TranscriptionOrder, WhisperModelConfig } from './protocol.js';
import { loadWhisper, type WhisperContext, type WhisperOptions, type WhisperResult } from './whisper-binding.js';

const SAMPLES_PER_MS = 16;

/** whisper.cpp passes over what is shorter than a second; silence after a short word makes it long enough. */
const SAMPLES_MIN = 1_100 * SAMPLES_PER_MS;

function send(message: FromWhisperChild): void {
  process.send?.(message);
}

async function transcribe(context: WhisperContext, threads: number, order: TranscriptionOrder): Promise<Transcript> {
  const { samples, language, prompt, temperature } = order;
  const count = Math.floor(samples.length / 2);
  const durationMs = Math.round(count / SAMPLES_PER_MS);
  const padded = new Int16Array(Math.max(count, SAMPLES_MIN));
  new Uint8Array(padded.buffer).set(samples.subarray(0, count * 2));
  const options: WhisperOptions = {
    language: language ?? 'auto',
    temperature,
    maxThreads: threads,
    nProcessors: 1,
    ...(prompt === null ? {} : { prompt }),
  };
  const result = await settled(context.transcribeData(padded.buffer, options).promise);
  const segments = result.segments
    // Whisper times what it hears in the silence that was added, or rounds, past the end.
    .map(({ text, t0, t1 }) => ({ startMs: Math.min(t0, durationMs), endMs: Math.min(t1, durationMs), text }))
    .filter(({ text }) => text.trim() !== '');
  return { text: segments.map(({ text }) => text).join(''), language: result.language ?? language ?? 'en', segments };
}

/**
 * The binding's promise never settles when the native work fails. There is one thread in the pool and it takes its work in order, so a file
 * operation that is asked for after the recording ends after it.
 */
async function settled(promise: Promise<WhisperResult>): Promise<WhisperResult> {
  const after = stat('.').then(async () => {
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    throw new Error('whisper.cpp gave the recording up');
  });
  return Promise.race([promise, after]);
}

async function main({ modelPath, threads }: WhisperModelConfig): Promise<void> {
  await stat(modelPath);
  const context = await loadWhisper(modelPath);
  process.on('message', async (order: TranscriptionOrder) => {
    try {
      send({ kind: 'transcribed', run: order.run, transcript: await transcribe(context, threads, order) });
    } catch (error) {
      send({ kind: 'failed', run: order.run, message: error instanceof Error ? error.message : String(error) });
    }
  });
  send({ kind: 'ready' });
}

process.on('disconnect', () => process.exit(0));
// Ctrl-C reaches the whole process group; the parent drains first and ends this process when it is done.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});

main(JSON.parse(process.argv[2] ?? '{}') as WhisperModelConfig).catch((error: unknown) => {
  send({ kind: 'unusable', reason: error instanceof Error ? error.message : String(error) });
});
