/** Real llama engines for tests, on the bundled model unless told otherwise. */
import { fileURLToPath } from 'node:url';
import { type Logger, pino } from 'pino';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { LlamaEngine, type LlamaEngineOptions } from '../llama/llama-engine.js';
import { TINY_MODEL_PATH } from '../tiny/tiny-model.js';

export const silentLogger: Logger = pino({ level: 'silent' });

type TestEngineOptions = Partial<LlamaEngineOptions> & { readonly slots?: number };

export function llamaEngine({ slots = 4, ...overrides }: TestEngineOptions = {}): LlamaEngine {
  return new LlamaEngine({
    modelPath: fileURLToPath(TINY_MODEL_PATH),
    sequences: slots,
    contextTokens: 512,
    batchTokens: 256,
    threads: 1,
    queuedMax: 16,
    scheduler: eventLoopScheduler,
    logger: silentLogger,
    ...overrides,
  });
}

/** Resolves with an engine that is ready; throws with its reason when it is not. */
export async function readyLlamaEngine(options: TestEngineOptions = {}): Promise<LlamaEngine> {
  const engine = llamaEngine(options);
  const state = await engine.whenLoaded();
  if (state.status === 'ready') return engine;
  await engine.close();
  throw new Error(`the engine is ${JSON.stringify(state)}`);
}
