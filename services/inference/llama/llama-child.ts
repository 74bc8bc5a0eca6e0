/**
 * The process that holds the model. It is forked by `LlamaEngine` with `UV_THREADPOOL_SIZE=1`, takes orders over IPC and dies with its
 * parent. A crash in llama.cpp ends this process and nothing else.
 */
import { EngineError } from '../engine.js';
import { BatchLoop } from './batch-loop.js';
import { type LoadedModel, loadModel } from './load-model.js';
import type { FromChild, LlamaModelConfig, RunOrder, ToChild } from './protocol.js';
import { PieceTable } from './token-text.js';

/** Progress is told in steps of this size; llama.cpp tells it for every tensor. */
const PROGRESS_STEP = 0.02;

function send(message: FromChild): void {
  process.send?.(message);
}

function serve(model: LoadedModel): void {
  const { vocabulary, prompt, decoder } = model;
  const loop = new BatchLoop({
    decoder,
    pieces: new PieceTable(vocabulary),
    isEnd: vocabulary.isEnd,
    report: send,
    nowMs: () => performance.now(),
  });
  const begin = (order: RunOrder) => {
    try {
      const { run, sampling, outputTokensBudget } = order;
      loop.submit({
        run,
        sampling,
        outputTokensBudget,
        prompt: prompt.tokensOf(order.messages),
        stop: [...order.stop, ...prompt.extraStops],
      });
    } catch (error) {
      const failure = error instanceof EngineError ? error : new EngineError('engine_failed', `the prompt failed: ${String(error)}`, false);
      const { code, message, retryable } = failure;
      send({ kind: 'step', texts: [], endings: [], failures: [{ run: order.run, code, message, retryable }] });
    }
  };
  process.on('message', (message: ToChild) => {
    if (message.kind === 'run') begin(message.order);
    else loop.cancel(message.run);
  });
}

async function main(config: LlamaModelConfig): Promise<void> {
  let told = 0;
  const model = await loadModel(config, {
    onProgress: (progress) => {
      if (progress < told + PROGRESS_STEP) return;
      told = progress;
      send({ kind: 'loading', progress });
    },
    onLog: (level, message) => send({ kind: 'log', level, message }),
  });
  serve(model);
  send({ kind: 'ready', facts: model.facts });
}

process.on('disconnect', () => process.exit(0));
// Ctrl-C reaches the whole process group; the parent drains first and ends this process when it is done.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});

main(JSON.parse(process.argv[2] ?? '{}') as LlamaModelConfig).catch((error: unknown) => {
  const reason = error instanceof Error ? error.message : String(error);
  // The parent ends this process when it has read why.
  send({ kind: 'unusable', reason });
});
