/** Child process that drives the bundled model through node-llama-cpp's public interface, as a program without Farebox would. */
import { fileURLToPath } from 'node:url';
import { getLlama, type LlamaContextSequence, type LlamaModel } from 'node-llama-cpp';
import { TINY_MODEL_PATH } from '../../services/inference/tiny/tiny-model.js';

export type DirectRequest = {
  readonly clients: number;
  readonly durationMs: number;
  readonly answerTokens: number;
  readonly prompt: string;
};
export type DirectResult = { readonly tokensPerSecond: number };

const SEQUENCES = 8;
const CONTEXT_TOKENS = 4_096;

const llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, maxThreads: 1 });
const model = await llama.loadModel({ modelPath: fileURLToPath(TINY_MODEL_PATH) });
const context = await model.createContext({ sequences: SEQUENCES, contextSize: CONTEXT_TOKENS, threads: 1 });
const sequences = Array.from({ length: SEQUENCES }, () => context.getSequence());
let turnOfAll = 0;

process.on('message', (request: DirectRequest) => {
  measure(request).then(
    (result) => process.send?.(result),
    (error: unknown) => {
      throw error;
    },
  );
});

async function measure({ clients, durationMs, answerTokens, prompt }: DirectRequest): Promise<DirectResult> {
  const startedMs = performance.now();
  const endMs = startedMs + durationMs;
  let tokens = 0;
  const client = async (sequence: LlamaContextSequence) => {
    while (performance.now() < endMs) {
      turnOfAll += 1;
      tokens += await generate(model, sequence, `${turnOfAll} ${prompt}`, answerTokens, turnOfAll);
    }
  };
  await Promise.all(sequences.slice(0, clients).map(client));
  return { tokensPerSecond: tokens / ((performance.now() - startedMs) / 1_000) };
}

async function generate(
  model: LlamaModel,
  sequence: LlamaContextSequence,
  text: string,
  answerTokens: number,
  seed: number,
): Promise<number> {
  await sequence.clearHistory();
  let tokens = 0;
  for await (const token of sequence.evaluate(model.tokenize(`<|user|>${text}<|assistant|>`, true), { temperature: 1, seed })) {
    tokens += 1;
    if (model.isEogToken(token) || tokens === answerTokens) break;
  }
  return tokens;
}
