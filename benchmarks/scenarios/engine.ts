/** Tokens a second through the whole billed API, beside the same model driven by node-llama-cpp's public interface directly, at 1, 4 and 8 clients. */
import { fork } from 'node:child_process';
import type { DirectRequest, DirectResult } from '../support/direct-llama.js';
import { type Figure, median, ratioFigure, type Scenario } from '../support/figures.js';
import { type MeasuredServer, startFarebox } from '../support/servers.js';

const CLIENTS = [1, 4, 8];
const ROUNDS = 3;
const ROUND_MS = 4_000;
const ANSWER_TOKENS = 64;
/** Long enough that evaluating it counts, and different every time, so that no cache answers it. */
const PROMPT =
  'Tell me a long story about a bus that travels along the coast, the people who ride it, the fares they pay and the weather they meet.';

export const engineScenario: Scenario = {
  name: 'engine',
  async run(say) {
    const server = await startFarebox('tiny', { FAREBOX_ENGINE_SEQUENCES: '8' });
    const direct = startDirect();
    try {
      const figures: Figure[] = [];
      for (const clients of CLIENTS) {
        const [through, alone]: [number[], number[]] = [[], []];
        for (let turn = 0; turn < ROUNDS; turn += 1) {
          alone.push(
            (await direct.measure({ clients, durationMs: ROUND_MS, answerTokens: ANSWER_TOKENS, prompt: PROMPT })).tokensPerSecond,
          );
          through.push(await throughApi(server, clients));
          say(`${clients} clients: ${Math.round(through.at(-1) ?? 0)} tokens/s through the API, ${Math.round(alone.at(-1) ?? 0)} direct`);
        }
        const name = `tokens through the whole API, ${clients} client${clients === 1 ? '' : 's'}`;
        figures.push(
          ratioFigure(name, median(through), 'tokens/s', { name: 'node-llama-cpp directly', value: median(alone) }, { ratioMin: 0.95 }),
        );
      }
      return figures;
    } finally {
      direct.stop();
      await server.stop();
    }
  },
};

let turnOfAll = 0;

async function throughApi(server: MeasuredServer, clients: number): Promise<number> {
  const startedMs = performance.now();
  const endMs = startedMs + ROUND_MS;
  let tokens = 0;
  const client = async () => {
    while (performance.now() < endMs) {
      turnOfAll += 1;
      const response = await fetch(`${server.baseUrl}/v1/chat/completions`, {
        method: 'POST',
        headers: { ...server.headers, 'content-type': 'application/json' },
        body: JSON.stringify({
          model: 'farebox-tiny',
          messages: [{ role: 'user', content: `${turnOfAll} ${PROMPT}` }],
          max_tokens: ANSWER_TOKENS,
          temperature: 1,
          seed: turnOfAll,
        }),
      });
      const answer = (await response.json()) as { usage?: { completion_tokens: number } };
      if (answer.usage === undefined) throw new Error(`no answer: ${JSON.stringify(answer)}`);
      tokens += answer.usage.completion_tokens;
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return tokens / ((performance.now() - startedMs) / 1_000);
}

/** A child process that holds the model for the whole scenario. */
function startDirect() {
  const child = fork(new URL('../support/direct-llama.js', import.meta.url));
  return {
    measure: (request: DirectRequest) =>
      new Promise<DirectResult>((resolve, reject) => {
        child.once('message', (result) => resolve(result as DirectResult));
        child.once('exit', (code) => reject(new Error(`direct run ended with ${code}`)));
        child.send(request);
      }),
    stop: () => void child.kill(),
  };
}
