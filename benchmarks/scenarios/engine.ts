/**
 * Tokens a second through the whole billed API, beside the same weights driven by node-llama-cpp's public interface directly, at 1, 4 and 8
 * clients. The weights are random, 26 million of them: large enough that a token costs what it costs in a small real model, made in a moment,
 * and they never end an answer early.
 */
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { packageFile } from '../../platform/package-root.js';
import { loadPreset } from '../../presets/load-preset.js';
import { weightsPath } from '../../services/inference/models/weights.js';
import type { DirectLoad, DirectThroughput } from '../../services/inference/testing/direct-throughput.js';
import { randomModelFile } from '../../services/inference/testing/random-model.js';
import { type Figure, median, ratioFigure, type Scenario } from '../support/figures.js';
import { type MeasuredServer, startFarebox } from '../support/servers.js';

const SHAPE = { width: 512, layers: 8, heads: 8, feedForwardWidth: 1_408, contextTokens: 2_048 };
const CLIENTS = [1, 4, 8];
const ROUNDS = 3;
/** Answers that each client asks for in a round. */
const ANSWERS = 3;
const ANSWER_TOKENS = 64;
const THREADS = 1;
const PROMPT = 'Tell me a long story about a bus that travels along the coast, and about the people who ride it.';

export const engineScenario: Scenario = {
  name: 'engine',
  async run(say) {
    const weights = randomModelFile(SHAPE);
    const model = loadPreset('farebox').models.find((candidate) => candidate.weights !== undefined);
    if (model === undefined) throw new Error('the preset names no weights');
    const modelDirectory = dirname(weights.path);
    const modelPath = weightsPath(model, modelDirectory);
    mkdirSync(dirname(modelPath), { recursive: true });
    copyFileSync(weights.path, modelPath);
    const server = await startFarebox('llama', {
      FAREBOX_MODEL: model.id,
      FAREBOX_MODEL_DIR: modelDirectory,
      FAREBOX_ENGINE_THREADS: String(THREADS),
      FAREBOX_ENGINE_SEQUENCES: String(Math.max(...CLIENTS)),
    });
    try {
      await throughApi(server, model.id, 1);
      const figures: Figure[] = [];
      for (const clients of CLIENTS) figures.push(await compare(server, model.id, modelPath, clients, say));
      return figures;
    } finally {
      await server.stop();
      weights.remove();
    }
  },
};

async function compare(
  server: MeasuredServer,
  model: string,
  modelPath: string,
  clients: number,
  say: (line: string) => void,
): Promise<Figure> {
  const [through, alone]: [number[], number[]] = [[], []];
  for (let turn = 0; turn < ROUNDS; turn += 1) {
    alone.push(await directly({ modelPath, clients, threads: THREADS, prompt: PROMPT, answerTokens: ANSWER_TOKENS, rounds: ANSWERS }));
    through.push(await throughApi(server, model, clients));
    say(`${clients} clients: ${Math.round(through.at(-1) ?? 0)} tokens/s through the API, ${Math.round(alone.at(-1) ?? 0)} directly`);
  }
  const name = `tokens through the whole API, ${clients} client${clients === 1 ? '' : 's'}`;
  return ratioFigure(name, median(through), 'tokens/s', { name: 'node-llama-cpp directly', value: median(alone) }, { ratioMin: 0.95 });
}

let turnOfAll = 0;

async function throughApi(server: MeasuredServer, model: string, clients: number): Promise<number> {
  const startedMs = performance.now();
  let tokens = 0;
  const client = async () => {
    for (let answer = 0; answer < ANSWERS; answer += 1) {
      turnOfAll += 1;
      // A different beginning every time, so that no cached prompt is what is measured.
      const messages = [{ role: 'user', content: `${turnOfAll} ${PROMPT}` }];
      const response = await fetch(`${server.baseUrl}/v1/chat/completions`, {
        method: 'POST',
        headers: { ...server.headers, 'content-type': 'application/json' },
        body: JSON.stringify({ model, messages, max_tokens: ANSWER_TOKENS, temperature: 0.8, top_k: 40, top_p: 0.95 }),
      });
      const body = (await response.json()) as { usage?: { completion_tokens: number } };
      if (body.usage === undefined) throw new Error(`no answer: ${JSON.stringify(body)}`);
      tokens += body.usage.completion_tokens;
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return tokens / ((performance.now() - startedMs) / 1_000);
}

/** In a process of its own: thread pools and OpenMP are set up once per process. */
async function directly(load: DirectLoad): Promise<number> {
  const script = fileURLToPath(packageFile('dist/services/inference/testing/direct-throughput.js'));
  const { stdout } = await promisify(execFile)(process.execPath, [script, JSON.stringify(load)]);
  return (JSON.parse(stdout) as DirectThroughput).tokensPerSecond;
}
