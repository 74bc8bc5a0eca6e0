/** The llama engine on real llama.cpp: the contract of all engines over both ways into the library, and what only it has to promise. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from '@jest/globals';
import type { ChatMessage, Sampling } from '../../../events/contract/index.js';
import type { Engine, EngineRun } from '../engine.js';
import { describeEngineContract } from '../engine-contract.js';
import { llamaEngine, readyLlamaEngine } from '../testing/llama-engines.js';
import { randomModel, randomModelFile } from '../testing/random-model.js';

const SAMPLING: Sampling = { temperature: 0.7, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: 7 };
const GREEDY: Sampling = { ...SAMPLING, temperature: 0 };

const user = (content: string): ChatMessage => ({ role: 'user', content });
const model = randomModelFile();
afterAll(() => model.remove());

for (const binding of ['auto', 'public'] as const) {
  describeEngineContract(`llama, ${binding} binding`, {
    makeEngine: (limits) => readyLlamaEngine({ ...limits, binding, modelPath: model.path }),
    long: { messages: [user('Hello! Tell me about the sea.')], sampling: { ...SAMPLING, temperature: 0.4 } },
    // Hot enough to meet a token that ends the answer, with a seed that does so soon.
    short: { messages: [user('Hello!')], sampling: { ...SAMPLING, temperature: 2, seed: 2 } },
    promptBeyond: (tokens) => [user('word '.repeat(tokens))],
    // What only the native binding can do, and tools in words, which need more context, are in llama-answers.test.ts.
    abilities: ['prompts', 'embeddings'],
  });
}

function runOf(overrides: Partial<EngineRun>): EngineRun {
  return {
    runId: 'run_llama',
    messages: [user('Hello!')],
    sampling: SAMPLING,
    stop: [],
    outputTokensBudget: 24,
    onText: () => {},
    signal: new AbortController().signal,
    ...overrides,
  };
}

async function answer(engine: Engine, overrides: Partial<EngineRun> = {}) {
  let text = '';
  const { usage } = await engine.run(
    runOf({
      onText: (piece) => {
        text += piece;
      },
      ...overrides,
    }),
  );
  return { text, usage };
}

const engines: Engine[] = [];
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
});

async function ready(options: Parameters<typeof readyLlamaEngine>[0] = {}) {
  const engine = await readyLlamaEngine({ modelPath: model.path, ...options });
  engines.push(engine);
  return engine;
}

describe('llama engine', () => {
  test('sampling parameters reach the sampler', async () => {
    const engine = await ready();
    const greedy = await answer(engine, { sampling: GREEDY });
    expect((await answer(engine, { sampling: { ...SAMPLING, topK: 1 } })).text).toBe(greedy.text);
    expect((await answer(engine, { sampling: { ...SAMPLING, topP: 0.0001 } })).text).toBe(greedy.text);
    expect((await answer(engine, { sampling: { ...SAMPLING, minP: 1 } })).text).toBe(greedy.text);
    const penalised = await answer(engine, { sampling: { ...GREEDY, frequencyPenalty: 2, presencePenalty: 2 }, outputTokensBudget: 200 });
    expect(penalised.text).not.toBe((await answer(engine, { sampling: GREEDY, outputTokensBudget: 200 })).text);
    const rewarded = await answer(engine, { sampling: { ...GREEDY, frequencyPenalty: -2 }, outputTokensBudget: 40 });
    expect(new Set(rewarded.text).size).toBeLessThan(new Set(penalised.text).size);
  });

  test('without a seed answers differ, with one they depend on it', async () => {
    const engine = await ready();
    const texts = await Promise.all(
      [null, null, 1, 2, -1, 2 ** 40 + 5].map(async (seed) => (await answer(engine, { sampling: { ...SAMPLING, seed } })).text),
    );
    expect(new Set(texts).size).toBe(texts.length);
  });

  test('a conversation that goes on is read from where it was left', async () => {
    const engine = await ready({ slots: 2 });
    const first = await answer(engine, { messages: [user('A long beginning of a conversation.')] });
    const messages: ChatMessage[] = [user('A long beginning of a conversation.'), { role: 'assistant', content: 'Yes?' }, user('And on.')];
    const second = await answer(engine, { messages });
    expect(first.usage.cachedTokens).toBe(0);
    // Everything but the last tokens of the first prompt is the beginning of the second one.
    expect(second.usage.cachedTokens).toBeGreaterThan(first.usage.promptTokens - 4);
    expect(second.usage.cachedTokens).toBeLessThan(second.usage.promptTokens);
    const fresh = await ready({ slots: 2 });
    expect((await answer(fresh, { messages })).text).toBe(second.text);
  });

  test('a long prompt does not hold up the runs beside it', async () => {
    const engine = await ready({ contextTokens: 2_048 });
    const piecesBefore: number[] = [];
    let pieces = 0;
    const beside = engine.run(
      runOf({
        outputTokensBudget: 400,
        sampling: GREEDY,
        onText: () => {
          pieces += 1;
        },
      }),
    );
    await answer(engine, { messages: [user('word '.repeat(350))], outputTokensBudget: 1 });
    piecesBefore.push(pieces);
    await beside;
    expect(piecesBefore[0]).toBeGreaterThan(2);
  });

  test('a killed child fails its runs as crashed, and comes back', async () => {
    const engine = await ready({ slots: 1 });
    const pid = engine.childPid;
    let onStarted = () => {};
    const started = new Promise<void>((resolve) => {
      onStarted = resolve;
    });
    const running = engine.run(runOf({ outputTokensBudget: 400, onText: onStarted }));
    const waiting = engine.run(runOf({}));
    await started;
    process.kill(pid ?? 0, 'SIGKILL');
    await expect(running).rejects.toMatchObject({ code: 'engine_crashed', retryable: true });
    await expect(waiting).rejects.toMatchObject({ code: 'engine_crashed', retryable: true });
    expect(engine.state().status).toBe('loading');
    await expect(engine.run(runOf({}))).rejects.toMatchObject({ code: 'model_loading', retryable: true });
    expect(await engine.whenLoaded()).toEqual({ status: 'ready' });
    expect(engine.childPid).not.toBe(pid);
    expect((await answer(engine)).usage.completionTokens).toBe(24);
  });

  test('while the model loads, runs are refused as loading', async () => {
    const engine = llamaEngine({ modelPath: model.path });
    engines.push(engine);
    expect(engine.state()).toEqual({ status: 'loading', progress: 0 });
    await expect(engine.run(runOf({}))).rejects.toMatchObject({ code: 'model_loading' });
    expect(await engine.whenLoaded()).toEqual({ status: 'ready' });
    expect(engine.facts).toMatchObject({ contextTokens: 512, sequences: 4, binding: 'native' });
  });

  test('the context is never larger than the model was made for', async () => {
    expect((await ready({ contextTokens: 100_000, slots: 1 })).facts?.contextTokens).toBe(2_048);
  });

  const whole = randomModel();
  const spoilt = Uint8Array.from(whole);
  spoilt.fill(0xff, 8, 4_096);
  test.each<[string, Uint8Array | null, RegExp]>([
    ['missing', null, /there is no file/],
    ['empty', new Uint8Array(0), /not a GGUF file/],
    ['of another kind', Buffer.from('PK\u0003\u0004 something else'), /not a GGUF file/],
    ['cut short', whole.subarray(0, whole.length >> 1), /cannot be used/],
    ['spoilt inside', spoilt, /./],
  ])('a file that is %s makes the engine unavailable with a reason, and no child is left', async (name, bytes, reason) => {
    const path = join(model.path, '..', `${name.replaceAll(' ', '-')}.gguf`);
    if (bytes !== null) writeFileSync(path, bytes);
    const engine = llamaEngine({ modelPath: path });
    engines.push(engine);
    expect(await engine.whenLoaded()).toEqual({ status: 'failed', reason: expect.stringMatching(reason) });
    await expect(engine.run(runOf({}))).rejects.toMatchObject({ code: 'model_unavailable' });
    await engine.close();
    expect(engine.childPid).toBeNull();
    expect(engine.load()).toEqual({ active: 0, queued: 0 });
  });
});
