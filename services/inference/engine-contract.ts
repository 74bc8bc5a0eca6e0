/** What every engine promises, as one Jest suite that each adapter runs. Nothing here sleeps: runs are met half way through `onText`. */
import { afterAll, afterEach, describe, expect, test } from '@jest/globals';
import type { ChatMessage, Sampling } from '../../events/contract/index.js';
import type { Engine, EngineResult, EngineRun } from './engine.js';
import { type Ability, describeAbilities } from './engine-abilities-contract.js';

export type EngineLimits = {
  readonly slots: number;
  readonly queuedMax: number;
  /** Prompt and answer of one run together. */
  readonly contextTokens: number;
};

/** A question to an engine under test, with the sampling that makes it answer as the name says. */
export type Ask = { readonly messages: readonly ChatMessage[]; readonly sampling: Sampling };

export type EngineUnderTest = {
  readonly makeEngine: (limits: EngineLimits) => Promise<Engine>;
  /** Answers with at least `LONG_TOKENS` tokens when the budget allows. */
  readonly long: Ask;
  /** Ends by itself within `LONG_TOKENS` tokens. */
  readonly short: Ask;
  /** A prompt of more tokens than this. */
  readonly promptBeyond: (tokens: number) => readonly ChatMessage[];
  /** What it can do beside answering a conversation in text. */
  readonly abilities?: readonly Ability[];
};

export const LONG_TOKENS = 200;

/** Cancellation must be over within a second; the rest of the engine's work shares the machine with the test. */
const CANCEL_MS_MAX = 1_000;

const LIMITS: EngineLimits = { slots: 2, queuedMax: 3, contextTokens: 512 };

type Observed = { readonly result: EngineResult; readonly pieces: readonly string[]; readonly text: string };

let nextRun = 0;

function runOf(ask: Ask, overrides: Partial<EngineRun> = {}): EngineRun {
  nextRun += 1;
  return {
    runId: `run_contract${nextRun}`,
    messages: ask.messages,
    sampling: ask.sampling,
    stop: [],
    outputTokensBudget: LONG_TOKENS,
    onText: () => {},
    signal: new AbortController().signal,
    ...overrides,
  };
}

async function observe(engine: Engine, ask: Ask, overrides: Partial<EngineRun> = {}): Promise<Observed> {
  const pieces: string[] = [];
  const result = await engine.run(runOf(ask, { onText: (text) => pieces.push(text), ...overrides }));
  return { result, pieces, text: pieces.join('') };
}

/** Starts a run and resolves once its first text has come. */
function startRun(engine: Engine, ask: Ask, overrides: Partial<EngineRun> = {}) {
  const abort = new AbortController();
  let onStarted = () => {};
  const started = new Promise<void>((resolve) => {
    onStarted = resolve;
  });
  const result = engine.run(runOf(ask, { signal: abort.signal, onText: () => onStarted(), ...overrides }));
  // Every test looks at the result; until then a rejection is not unhandled.
  result.catch(() => {});
  return { abort, started, result };
}

export function describeEngineContract(name: string, subject: EngineUnderTest): void {
  describe(`engine contract: ${name}`, () => {
    const shared = new Map<string, Promise<Engine>>();
    // Loading a model takes most of a second, so tests that leave an engine as they found it share those with equal limits.
    const engineWith: EngineWith = (limits = {}) => {
      const complete = { ...LIMITS, ...limits };
      const key = JSON.stringify(complete);
      const engine = shared.get(key) ?? subject.makeEngine(complete);
      shared.set(key, engine);
      return engine;
    };
    afterEach(async () => {
      for (const engine of shared.values()) expect((await engine).load()).toEqual({ active: 0, queued: 0 });
    });
    afterAll(async () => {
      for (const engine of shared.values()) await (await engine).close();
    });
    describeAnswers(subject, engineWith);
    describeEndings(subject, engineWith);
    describeBounds(subject, engineWith);
    describeAbilities({ abilities: subject.abilities ?? [], sampling: subject.short.sampling, makeEngine: () => engineWith() });
  });
}

type EngineWith = (limits?: Partial<EngineLimits>) => Promise<Engine>;

function describeAnswers({ long, short }: EngineUnderTest, engineWith: EngineWith): void {
  test('an answer that ends by itself stops, within its budget, with its tokens counted', async () => {
    const { result, text } = await observe(await engineWith(), short);
    expect(result).toMatchObject({ outcome: 'completed', finishReason: 'stop' });
    expect(text).not.toBe('');
    expect(result.usage.promptTokens).toBeGreaterThan(0);
    expect(result.usage.completionTokens).toBeGreaterThan(0);
    expect(result.usage.completionTokens).toBeLessThanOrEqual(LONG_TOKENS);
  });

  test.each([1, 2, 17])('a budget of %d tokens ends the run there with finish reason length', async (outputTokensBudget) => {
    const { result } = await observe(await engineWith(), long, { outputTokensBudget });
    expect(result.finishReason).toBe('length');
    expect(result.usage.completionTokens).toBe(outputTokensBudget);
  });

  test('a longer budget continues the same answer', async () => {
    const engine = await engineWith();
    const brief = await observe(engine, long, { outputTokensBudget: 10 });
    const full = await observe(engine, long, { outputTokensBudget: 30 });
    expect(full.text.startsWith(brief.text)).toBe(true);
    expect(full.text.length).toBeGreaterThan(brief.text.length);
    expect(full.result.usage.promptTokens).toBe(brief.result.usage.promptTokens);
  });

  test('the same seed gives the same answer', async () => {
    const engine = await engineWith();
    const seeded: Ask = { messages: short.messages, sampling: { ...short.sampling, temperature: 0.9, seed: 42 } };
    const first = await observe(engine, seeded);
    const second = await observe(engine, seeded);
    expect(second.text).toBe(first.text);
    expect(second.result.usage.completionTokens).toBe(first.result.usage.completionTokens);
  });

  test('cached tokens are part of the prompt and leave at least one to evaluate', async () => {
    const engine = await engineWith();
    await observe(engine, long, { outputTokensBudget: 4 });
    const { usage } = (await observe(engine, long, { outputTokensBudget: 4 })).result;
    expect(usage.cachedTokens).toBeGreaterThanOrEqual(0);
    expect(usage.cachedTokens).toBeLessThan(usage.promptTokens);
  });

  test('a stop sequence, wherever tokens cut it, ends the text before it and is never part of it', async () => {
    const engine = await engineWith();
    const { text: whole } = await observe(engine, long, { outputTokensBudget: 40 });
    for (const length of [1, 3, 9]) {
      const from = Math.floor(whole.length / 3);
      const stop = whole.slice(from, from + length);
      const { result, text } = await observe(engine, long, { outputTokensBudget: 40, stop: ['never to be met', stop] });
      expect(text).toBe(whole.slice(0, whole.indexOf(stop)));
      expect(result.finishReason).toBe('stop');
      expect(result.usage.completionTokens).toBeLessThanOrEqual(40);
    }
  });

  test('the beginning of a stop sequence that is not completed is part of the text', async () => {
    const engine = await engineWith();
    const { text: whole } = await observe(engine, long, { outputTokensBudget: 12 });
    const { text } = await observe(engine, long, { outputTokensBudget: 12, stop: [`${whole.slice(-2)}\u0000`] });
    expect(text).toBe(whole);
  });

  test('no piece of text is empty or holds half a character', async () => {
    const { pieces } = await observe(await engineWith(), long);
    for (const piece of pieces) {
      expect(piece).not.toBe('');
      expect(piece).not.toMatch(/\p{Surrogate}/u);
    }
  });
}

function describeEndings({ long, short, makeEngine }: EngineUnderTest, engineWith: EngineWith): void {
  test('a cancelled run ends within a second, its tokens counted, and its slot is free again', async () => {
    const engine = await engineWith({ slots: 1 });
    const { abort, started, result } = startRun(engine, long);
    await started;
    const abortedAtMs = performance.now();
    abort.abort();
    const { outcome, finishReason, usage } = await result;
    expect(performance.now() - abortedAtMs).toBeLessThan(CANCEL_MS_MAX);
    expect({ outcome, finishReason }).toEqual({ outcome: 'cancelled', finishReason: null });
    expect(usage.promptTokens).toBeGreaterThan(0);
    expect(usage.completionTokens).toBeGreaterThan(0);
    expect(usage.completionTokens).toBeLessThan(LONG_TOKENS);
    expect(engine.load()).toEqual({ active: 0, queued: 0 });
    expect((await observe(engine, short)).result.outcome).toBe('completed');
  });

  test('a run cancelled before it starts generates nothing', async () => {
    const engine = await engineWith();
    const { result, pieces } = await observe(engine, long, { signal: AbortSignal.abort() });
    expect(result).toEqual({
      outcome: 'cancelled',
      finishReason: null,
      usage: { promptTokens: 0, cachedTokens: 0, completionTokens: 0 },
    });
    expect(pieces).toEqual([]);
  });

  test('a run cancelled while it waits leaves the queue and costs nothing', async () => {
    const engine = await engineWith({ slots: 1 });
    const running = startRun(engine, long);
    const waiting = startRun(engine, long);
    await running.started;
    expect(engine.load()).toEqual({ active: 1, queued: 1 });
    waiting.abort.abort();
    expect((await waiting.result).usage.completionTokens).toBe(0);
    expect(engine.load()).toEqual({ active: 1, queued: 0 });
    running.abort.abort();
    await running.result;
  });

  test('no text comes after the end of a run', async () => {
    const engine = await engineWith();
    const late: string[] = [];
    const runs = Array.from({ length: 4 }, async (_, index) => {
      const abort = new AbortController();
      let ended = false;
      let pieces = 0;
      const onText = (text: string) => {
        pieces += 1;
        if (ended) late.push(text);
        if (index % 2 === 0 && pieces === 3) abort.abort();
      };
      await engine.run(runOf(long, { onText, signal: abort.signal, outputTokensBudget: 20 }));
      ended = true;
    });
    await Promise.all(runs);
    await observe(engine, short);
    expect(late).toEqual([]);
  });

  test('closing ends every run as failed and retryable', async () => {
    const engine = await makeEngine({ ...LIMITS, slots: 1 });
    const running = startRun(engine, long);
    const waiting = startRun(engine, long);
    await running.started;
    await engine.close();
    for (const { result } of [running, waiting]) await expect(result).rejects.toMatchObject({ code: 'engine_failed', retryable: true });
    expect(engine.load()).toEqual({ active: 0, queued: 0 });
    await expect(engine.run(runOf(short))).rejects.toMatchObject({ name: 'EngineError' });
  });
}

function describeBounds({ long, short, promptBeyond, makeEngine }: EngineUnderTest, engineWith: EngineWith): void {
  test('many runs at once all finish, each with its own answer', async () => {
    const engine = await engineWith({ slots: 4, queuedMax: 60 });
    const alone = await observe(engine, long, { outputTokensBudget: 24 });
    const all = await Promise.all(
      Array.from({ length: 40 }, (_, index) => observe(engine, long, { outputTokensBudget: 1 + (index % 24) })),
    );
    for (const [index, { result, text }] of all.entries()) {
      expect(result.usage.completionTokens).toBe(1 + (index % 24));
      expect(alone.text.startsWith(text)).toBe(true);
    }
    expect(engine.load()).toEqual({ active: 0, queued: 0 });
  });

  test('a run beyond the bound of the queue is refused with engine_at_capacity, and taken again later', async () => {
    const engine = await engineWith();
    const taken = Array.from({ length: LIMITS.slots + LIMITS.queuedMax }, () => startRun(engine, long));
    expect(engine.load()).toEqual({ active: LIMITS.slots, queued: LIMITS.queuedMax });
    await expect(engine.run(runOf(short))).rejects.toMatchObject({ code: 'engine_at_capacity', retryable: true });
    for (const { abort } of taken) abort.abort();
    await Promise.all(taken.map(({ result }) => result));
    expect((await observe(engine, short)).result.outcome).toBe('completed');
  });

  test('a prompt longer than the context is refused, finally', async () => {
    const engine = await engineWith();
    const messages = promptBeyond(LIMITS.contextTokens);
    await expect(engine.run(runOf({ ...long, messages }))).rejects.toMatchObject({ code: 'context_length_exceeded', retryable: false });
    expect(engine.load()).toEqual({ active: 0, queued: 0 });
  });

  test('an answer that meets the end of the context ends with finish reason length', async () => {
    const engine = await engineWith({ contextTokens: 256 });
    const { result } = await observe(engine, long, { outputTokensBudget: 100_000 });
    expect(result.finishReason).toBe('length');
    expect(result.usage.promptTokens + result.usage.completionTokens).toBe(256);
  });

  test('the fingerprint is stable and the state is ready', async () => {
    const engine = await engineWith();
    expect(engine.state()).toEqual({ status: 'ready' });
    expect(engine.systemFingerprint).toMatch(/^fp_[\w.-]+$/);
    const another = await makeEngine(LIMITS);
    expect(another.systemFingerprint).toBe(engine.systemFingerprint);
    await another.close();
  });
}
