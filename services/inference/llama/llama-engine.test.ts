/** The llama engine by the contract of all engines, on real llama.cpp with the bundled model, over both ways into the library. */
import type { ChatMessage, Sampling } from '../../../events/contract/index.js';
import { describeEngineContract } from '../engine-contract.js';
import { readyLlamaEngine } from '../testing/llama-engines.js';

const GREEDY: Sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: 1 };

/** Rewarding repetition keeps the model from ever ending its answer. */
const ENDLESS: Sampling = { ...GREEDY, frequencyPenalty: -2 };

const user = (content: string): ChatMessage => ({ role: 'user', content });

for (const binding of ['auto', 'public'] as const) {
  describeEngineContract(`llama, ${binding} binding`, {
    makeEngine: (limits) => readyLlamaEngine({ ...limits, binding }),
    long: { messages: [user('Hello! Tell me about the sea.')], sampling: ENDLESS },
    short: { messages: [user('Hello!')], sampling: GREEDY },
    promptBeyond: (tokens) => [user('word '.repeat(tokens))],
  });
}
