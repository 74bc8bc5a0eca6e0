/** The real whisper.cpp in its real child process, on weights that recite: loading, cancelling, crashing, and every bound. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { waitFor } from '../../../platform/testing/wait-for.js';
import type { TranscriptionRun } from '../engine.js';
import { RECITED_TEXT, recitingWeights } from './testing/reciting-weights.js';
import { WhisperEngine } from './whisper-engine.js';

const SAMPLES_PER_SECOND = 16_000;
const HOUR_SECONDS = 3_600;

let directory: string;
let modelPath: string;
const engines: WhisperEngine[] = [];

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'farebox-whisper-'));
  modelPath = join(directory, 'reciting.bin');
  writeFileSync(modelPath, recitingWeights());
});

afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

function engineOf(path = modelPath, queuedMax = 4): WhisperEngine {
  const logger = pino({ level: 'silent' });
  const engine = new WhisperEngine({ modelPath: path, weightsSizeBytes: 1, threads: 1, queuedMax, scheduler: eventLoopScheduler, logger });
  engines.push(engine);
  return engine;
}

function recording(seconds: number, more: Partial<TranscriptionRun> = {}): TranscriptionRun {
  const samples = Buffer.alloc(Math.round(seconds * SAMPLES_PER_SECOND) * 2);
  return { runId: 'run', samples, temperature: 0, signal: new AbortController().signal, ...more };
}

describe('whisper.cpp', () => {
  test('transcribes to a text with segments, in the language that it detects or is told', async () => {
    const engine = engineOf();
    expect(await engine.transcribe(recording(2))).toEqual({
      text: RECITED_TEXT,
      language: 'en',
      segments: [{ startMs: 0, endMs: 2_000, text: RECITED_TEXT }],
    });
    const told = await engine.transcribe(recording(35, { language: 'en', prompt: 'Farebox', temperature: 0.2 }));
    expect(told.segments.map(({ startMs }) => startMs)).toEqual([0, 30_000]);
    expect(told.segments.at(-1)?.endMs).toBeLessThanOrEqual(35_000);
    expect(engine.systemFingerprint).toMatch(/^fp_[0-9a-f]{10}_whispercpp$/);
  }, 60_000);

  test('hears what is shorter than a second, and keeps its times within it', async () => {
    const { segments } = await engineOf().transcribe(recording(0.4));
    expect(segments).toEqual([{ startMs: 0, endMs: 400, text: RECITED_TEXT }]);
  }, 60_000);

  test('a language that it does not know, which would end its process, fails the recording and nothing else', async () => {
    const engine = engineOf();
    await expect(engine.transcribe(recording(2, { language: 'qq' }))).rejects.toMatchObject({ code: 'engine_failed', retryable: false });
    const pid = engine.childPid;
    expect((await engine.transcribe(recording(2))).text).toBe(RECITED_TEXT);
    expect(engine.childPid).toBe(pid);
  }, 60_000);

  test('lets go of a cancelled recording at once, and goes on with the next', async () => {
    const engine = engineOf();
    await engine.whenLoaded();
    const abort = new AbortController();
    const cancelled = engine.transcribe(recording(HOUR_SECONDS, { signal: abort.signal }));
    const next = engine.transcribe(recording(2));
    expect(engine.load()).toEqual({ active: 1, queued: 1 });
    const abortedAtMs = performance.now();
    abort.abort();
    await expect(cancelled).rejects.toMatchObject({ code: 'engine_failed' });
    expect(performance.now() - abortedAtMs).toBeLessThan(1_000);
    expect((await next).text).toBe(RECITED_TEXT);
  }, 60_000);

  test('a crash fails the recording under way as one to be tried again, and the engine comes back', async () => {
    const engine = engineOf();
    await engine.whenLoaded();
    const hit = engine.transcribe(recording(HOUR_SECONDS));
    const waiting = engine.transcribe(recording(2));
    process.kill(engine.childPid ?? 0, 'SIGSEGV');
    await expect(hit).rejects.toMatchObject({ code: 'engine_crashed', retryable: true });
    expect((await waiting).text).toBe(RECITED_TEXT);
  }, 60_000);

  test('refuses what its queue does not hold', async () => {
    const engine = engineOf(modelPath, 1);
    await engine.whenLoaded();
    const running = engine.transcribe(recording(HOUR_SECONDS)).catch(() => 'ended');
    const waiting = engine.transcribe(recording(2)).catch(() => 'ended');
    await expect(engine.transcribe(recording(2))).rejects.toMatchObject({ code: 'engine_at_capacity', retryable: true });
    await engine.close();
    expect(await Promise.all([running, waiting])).toEqual(['ended', 'ended']);
  }, 60_000);

  test('a file that is not there, or is no model, fails for good', async () => {
    expect(await engineOf(join(directory, 'nothing.bin')).whenLoaded()).toMatchObject({ status: 'failed' });
    const text = join(directory, 'text.bin');
    writeFileSync(text, 'not a model');
    const engine = engineOf(text);
    await waitFor(() => engine.state().status === 'failed', { timeoutMs: 30_000 });
    await expect(engine.transcribe(recording(2))).rejects.toMatchObject({ code: 'model_unavailable' });
  }, 60_000);
});
