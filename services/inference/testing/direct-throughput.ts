/**
 * What the same model does when node-llama-cpp is used as its manual says: one sequence per client, each in its own `evaluate` loop. The
 * yardstick of the benchmarks. Run as a process of its own, because thread pools and OpenMP are set up once per process:
 *
 *     node dist/services/inference/testing/direct-throughput.js '{"modelPath": …, "clients": 4, …}'   prints {"tokensPerSecond": …}
 */
import { fileURLToPath } from 'node:url';
import { getLlama, type LlamaContextSequence, LlamaLogLevel, type Token } from 'node-llama-cpp';

export type DirectLoad = {
  readonly modelPath: string;
  readonly clients: number;
  readonly threads: number;
  readonly prompt: string;
  readonly answerTokens: number;
  /** Answers each client asks for, one after the other. */
  readonly rounds: number;
};

export type DirectThroughput = {
  readonly tokensPerSecond: number;
  /** Of all threads; comparable where other work shares the cores and the clock tells little. */
  readonly cpuMicrosPerToken: number;
};

async function measure({ modelPath, clients, threads, prompt, answerTokens, rounds }: DirectLoad): Promise<DirectThroughput> {
  const llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, progressLogs: false, logLevel: LlamaLogLevel.error });
  const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
  const tokens = model.tokenize(prompt, true);
  const contextSize = tokens.length + answerTokens + 8;
  const context = await model.createContext({ sequences: clients, contextSize, threads });
  const sequences = Array.from({ length: clients }, () => context.getSequence());
  await Promise.all(sequences.map((sequence) => generate(sequence, tokens, answerTokens)));
  const startedAtMs = performance.now();
  const cpuAtStart = process.cpuUsage();
  await Promise.all(
    sequences.map(async (sequence) => {
      for (let round = 0; round < rounds; round += 1) await generate(sequence, tokens, answerTokens);
    }),
  );
  const elapsedSeconds = (performance.now() - startedAtMs) / 1_000;
  const { user, system } = process.cpuUsage(cpuAtStart);
  const answered = clients * rounds * answerTokens;
  return { tokensPerSecond: answered / elapsedSeconds, cpuMicrosPerToken: (user + system) / answered };
}

async function generate(sequence: LlamaContextSequence, prompt: readonly Token[], answerTokens: number): Promise<void> {
  await sequence.clearHistory();
  let left = answerTokens;
  for await (const token of sequence.evaluate([...prompt], { temperature: 0.8, topK: 40, topP: 0.95, yieldEogToken: true })) {
    void sequence.model.detokenize([token]);
    left -= 1;
    if (left === 0) return;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const throughput = await measure(JSON.parse(process.argv[2] ?? '{}') as DirectLoad);
  process.stdout.write(`${JSON.stringify(throughput)}\n`, () => process.exit(0));
}
