/**
 * Loads a GGUF file in llama.cpp and does what its parent asks: tokenise, generate, read metadata. A process of its own, because a native module
 * does not load into the sandbox in which Jest runs its tests.
 */
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

export type Exercise =
  | { readonly kind: 'metadata' }
  /** Without special tokens, as the text of a user must be read. */
  | { readonly kind: 'tokenize'; readonly text: string }
  | {
      readonly kind: 'generate';
      /** In the model's own chat format, control tokens included. */
      readonly prompt: string;
      readonly temperature: number;
      readonly seed: number;
      readonly outputTokensMax: number;
    };

export type ExerciseResult =
  | { readonly kind: 'metadata'; readonly metadata: Readonly<Record<string, unknown>>; readonly endOfTurn: string | null }
  | { readonly kind: 'tokenize'; readonly tokens: readonly number[]; readonly text: string }
  | {
      readonly kind: 'generate';
      readonly text: string;
      readonly promptTokens: number;
      readonly outputTokens: number;
      /** Whether the model ended by itself. */
      readonly ended: boolean;
      readonly seconds: number;
    };

const CONTEXT_TOKENS = 8192;

async function main(modelPath: string): Promise<void> {
  const llama = await getLlama({ build: 'never', gpu: false, maxThreads: 1, logLevel: LlamaLogLevel.error });
  const model = await llama.loadModel({ modelPath });
  const context = await model.createContext({ contextSize: CONTEXT_TOKENS, threads: 1 });
  const sequence = context.getSequence();

  async function generate(exercise: Extract<Exercise, { kind: 'generate' }>): Promise<ExerciseResult> {
    const { temperature, seed, outputTokensMax } = exercise;
    await sequence.clearHistory();
    const prompt = model.tokenize(exercise.prompt, true);
    const output: typeof prompt = [];
    let ended = false;
    const startedAt = performance.now();
    for await (const token of sequence.evaluate(prompt, { temperature, seed, topK: 0, topP: 1, minP: 0, yieldEogToken: true })) {
      ended = model.isEogToken(token);
      if (!ended) output.push(token);
      if (ended || output.length === outputTokensMax) break;
    }
    const seconds = (performance.now() - startedAt) / 1000;
    return { kind: 'generate', text: model.detokenize(output), promptTokens: prompt.length, outputTokens: output.length, ended, seconds };
  }

  async function perform(exercise: Exercise): Promise<ExerciseResult> {
    switch (exercise.kind) {
      case 'metadata':
        return { kind: 'metadata', metadata: { ...model.fileInfo.metadata }, endOfTurn: model.tokens.eotString };
      case 'tokenize': {
        const tokens = model.tokenize(exercise.text, false);
        return { kind: 'tokenize', tokens: [...tokens], text: model.detokenize(tokens) };
      }
      case 'generate':
        return generate(exercise);
    }
  }

  let queue: Promise<unknown> = Promise.resolve();
  process.on('message', (exercise: Exercise) => {
    queue = queue.then(async () => process.send?.(await perform(exercise)));
  });
  process.on('disconnect', () => process.exit(0));
  process.send?.('ready');
}

await main(process.argv[2] ?? '');
