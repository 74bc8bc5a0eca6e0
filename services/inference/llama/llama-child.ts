/**
 * The process that holds the model. It is forked by `LlamaEngine` with `UV_THREADPOOL_SIZE=1`, takes orders over IPC and dies with its
 * parent. A crash in llama.cpp ends this process and nothing else.
 */
import { EngineError } from '../engine.js';
import { BatchLoop } from './batch-loop.js';
import { type LoadedModel, loadModel } from './load-model.js';
import { OrderReader } from './order-reader.js';
import type { EmbeddingOrder, FromChild, LlamaModelConfig, ToChild } from './protocol.js';
import { PieceTable } from './token-text.js';

/** Progress is told in steps of this size; llama.cpp tells it for every tensor. */
const PROGRESS_STEP = 0.02;

function send(message: FromChild): void {
  process.send?.(message);
}

function serve(model: LoadedModel): void {
  const { vocabulary, decoder, embedder } = model;
  const pieces = new PieceTable(vocabulary);
  const loop = new BatchLoop({
    decoder,
    pieces,
    isEnd: vocabulary.isEnd,
    report: send,
    nowMs: () => performance.now(),
  });
  const orders = new OrderReader({ ...model, pieces });
  const cancelled = new Set<number>();
  /** Embeddings go one after another. */
  const embeddings = new Map<number, EmbeddingOrder>();
  const embedNext = async (): Promise<void> => {
    for (const [run, { inputs, dimensions }] of embeddings) {
      try {
        const { vectors, promptTokens } = await embedder.embed(inputs, dimensions, () => cancelled.has(run));
        send({ kind: 'embedded', run, vectors: vectors.map(base64Of), promptTokens });
      } catch (error) {
        sendFailure(run, error);
      }
      embeddings.delete(run);
      cancelled.delete(run);
    }
  };
  process.on('message', (message: ToChild) => {
    switch (message.kind) {
      case 'run':
        try {
          loop.submit(orders.read(message.order));
        } catch (error) {
          sendFailure(message.order.run, error);
        }
        return;
      case 'embed':
        embeddings.set(message.order.run, message.order);
        if (embeddings.size === 1) void embedNext();
        return;
      case 'cancel':
        if (embeddings.has(message.run)) cancelled.add(message.run);
        else loop.cancel(message.run);
        return;
    }
  });
}

function sendFailure(run: number, error: unknown): void {
  const failure = error instanceof EngineError ? error : new EngineError('engine_failed', `the prompt failed: ${String(error)}`, false);
  const { code, message, retryable } = failure;
  send({ kind: 'step', texts: [], endings: [], failures: [{ run, code, message, retryable }] });
}

/** Every machine that Farebox is built for is little-endian, so the vector's memory is the channel's. */
function base64Of({ buffer, byteOffset, byteLength }: Float32Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('base64');
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
