/** Upstream engines and runs for tests, with every setting at a value that the test may replace. */
import { Writable } from 'node:stream';
import pino, { type Logger } from 'pino';
import type { ChatMessage, Sampling } from '../../../../events/contract/index.js';
import { eventLoopScheduler } from '../../../../platform/scheduler.js';
import { UpstreamSchema } from '../../../../presets/served-by.js';
import type { Engine, EngineResult, EngineRun } from '../../engine.js';
import { type UpstreamEngine, type UpstreamEngineOptions, upstreamEngine } from '../upstream-engine.js';
import { type UpstreamTarget, upstreamTarget } from '../upstream-settings.js';

export const PLAIN_SAMPLING: Sampling = {
  temperature: 1,
  topP: 1,
  topK: 0,
  minP: 0,
  frequencyPenalty: 0,
  presencePenalty: 0,
  seed: null,
};

export const user = (content: string): ChatMessage => ({ role: 'user', content });

export const silentLogger: Logger = pino({ level: 'silent' });

/** A logger whose lines the test can read. */
export function recordingLogger(): { readonly logger: Logger; readonly lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString('utf8')) as Record<string, unknown>);
      done();
    },
  });
  return { logger: pino({ level: 'debug' }, sink), lines };
}

/** A target as a preset's entry gives it, without a key. */
export function targetAt(baseUrl: string, overrides: Partial<UpstreamTarget> = {}): UpstreamTarget {
  const read = upstreamTarget(UpstreamSchema.parse({ name: 'near', base_url: baseUrl, model: 'acme/model-7b' }), {});
  if (read.status === 'refused') throw new Error(read.reason);
  return { ...read.target, ...overrides };
}

export function engineAt(
  baseUrl: string,
  overrides: Partial<Omit<UpstreamEngineOptions, 'target'>> & { readonly target?: Partial<UpstreamTarget> } = {},
): UpstreamEngine {
  const { target, ...rest } = overrides;
  return upstreamEngine({
    target: targetAt(baseUrl, target),
    contextTokens: 4_096,
    scheduler: eventLoopScheduler,
    logger: silentLogger,
    ...rest,
  });
}

export function runOf(overrides: Partial<EngineRun> = {}): EngineRun {
  return {
    runId: 'run_upstream1',
    messages: [user('What is the fare?')],
    sampling: PLAIN_SAMPLING,
    stop: [],
    outputTokensBudget: 100,
    onText: () => {},
    signal: new AbortController().signal,
    ...overrides,
  };
}

export type Spoken = { readonly result: EngineResult; readonly pieces: readonly string[]; readonly text: string };

export async function speak(engine: Engine, overrides: Partial<EngineRun> = {}): Promise<Spoken> {
  const pieces: string[] = [];
  const result = await engine.run(runOf({ onText: (text) => pieces.push(text), ...overrides }));
  return { result, pieces, text: pieces.join('') };
}
