/** What the worker makes of everything a run can ask for beside one answer in text: several answers, prompts, calls, vectors, transcripts. */
import { createHash } from 'node:crypto';
import { afterEach, describe, expect, test } from '@jest/globals';
import { NO_USAGE, type RunInput, type RunRequested, type TokenLogprob, textOfAnswers } from '../../events/contract/index.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { EchoEngine } from './echo/echo-engine.js';
import { type Engine, EngineError } from './engine.js';
import type { MediaSource } from './media-source.js';
import { LANES_UNDER_WAY_MAX } from './run-lanes.js';
import { HeldEngine } from './testing/held-engine.js';
import { workerUnderTest } from './testing/worker-under-test.js';

const MESSAGE_BYTES_MAX = 262_144;

const chat = (content = 'one two three'): RunInput => ({ kind: 'chat', messages: [{ role: 'user', content }] });
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const subject of open.splice(0)) await subject.close();
});

async function subjectOf(engine: Engine, mediaSource?: MediaSource) {
  const subject = await workerUnderTest(engine, mediaSource);
  open.push(subject);
  return subject;
}

async function heldSubject() {
  const held = new HeldEngine();
  const subject = await subjectOf(held);
  const taken = (count: number) => waitFor(() => held.runs.length >= count, { describe: `${count} runs at the engine` });
  return { ...subject, held, taken };
}

/** Of an answer's outputs, in order. */
const textOf = (outputs: readonly { readonly text: string; readonly answer?: number | undefined }[], answer: number) =>
  outputs
    .filter((output) => (output.answer ?? 0) === answer)
    .map(({ text }) => text)
    .join('');

describe('several answers', () => {
  test('share the budget, have seeds of their own, and are numbered prompt by prompt', async () => {
    const { ask, held, taken } = await heldSubject();
    const sampling = { temperature: 1, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: 40 };
    await ask({ input: { kind: 'completion', prompts: ['a', [7, 8]] }, answers: 2, outputTokensBudget: 43, sampling });
    await taken(4);
    expect(held.runs.map(({ run }) => [run.prompt, run.outputTokensBudget, run.sampling.seed])).toEqual([
      ['a', 10, 40],
      ['a', 10, 41],
      [[7, 8], 10, 42],
      [[7, 8], 10, 43],
    ]);
    for (const { finish } of held.runs) finish();
  });

  test('pay for each prompt once, as it was evaluated with the least of it cached, and for every answer', async () => {
    const { ask, held, taken, whenOver, finished } = await heldSubject();
    await ask({ input: { kind: 'completion', prompts: ['a', 'b'] }, answers: 2 });
    await taken(4);
    const counts = [
      [5, 4, 1],
      [5, 2, 2],
      [7, 6, 3],
      [7, 6, 4],
    ] as const;
    for (const [lane, [promptTokens, cachedTokens, completionTokens]] of counts.entries())
      held.runs[lane]?.finish({ promptTokens, cachedTokens, completionTokens });
    await whenOver();
    expect(finished()[0]?.usage).toEqual({ promptTokens: 12, cachedTokens: 8, completionTokens: 10 });
  });

  test.each([
    [['stop', 'stop', 'stop'], 'stop'],
    [['stop', 'tool_calls', 'stop'], 'tool_calls'],
    [['tool_calls', 'stop', 'length'], 'length'],
  ] as const)('that end with %j end the run with %s, and each says how it ended in its last output', async (reasons, reason) => {
    const { ask, held, taken, whenOver, finished, outputs } = await heldSubject();
    await ask({ input: chat(), answers: 3 });
    await taken(3);
    for (const [lane, { run, finish }] of held.runs.entries()) {
      run.onText(`answer ${lane}`);
      finish({ promptTokens: 5, cachedTokens: 0, completionTokens: 1 }, reasons[lane]);
    }
    await whenOver();
    expect(finished()[0]).toMatchObject({ outcome: 'completed', finishReason: reason, outputs: outputs().length });
    for (const [lane, expected] of reasons.entries()) {
      const ofLane = outputs().filter(({ answer }) => answer === lane);
      expect(ofLane.map(({ text }) => text).join('')).toBe(`answer ${lane}`);
      expect(ofLane.map(({ finishReason }) => finishReason)).toEqual([...ofLane.slice(1).map(() => undefined), expected]);
    }
    expect(outputs().map(({ index }) => index)).toEqual(outputs().map((_, index) => index));
    expect(finished()[0]?.responseHash).toBe(sha256(textOfAnswers([0, 1, 2].map((lane) => ({ text: `answer ${lane}` })))));
  });

  test('that are not streamed come one output each, at the end', async () => {
    const { ask, held, taken, whenOver, outputs } = await heldSubject();
    await ask({ input: chat(), answers: 2, stream: false });
    await taken(2);
    for (const lane of [1, 0]) {
      for (const piece of ['x', 'y', `${lane}`]) held.runs[lane]?.run.onText(piece);
      held.runs[lane]?.finish();
    }
    await whenOver();
    expect(outputs()).toMatchObject([
      { index: 0, answer: 0, text: 'xy0', finishReason: 'stop' },
      { index: 1, answer: 1, text: 'xy1', finishReason: 'stop' },
    ]);
  });

  test('an answer that fails ends the others and the attempt, and nothing is settled', async () => {
    const { ask, held, taken, whenOver, finished, failed } = await heldSubject();
    await ask({ input: chat(), answers: 3 });
    await taken(3);
    held.runs[0]?.finish();
    held.runs[1]?.fail(new EngineError('engine_crashed', 'gone', true));
    await whenOver();
    expect(held.runs[2]?.run.signal.aborted).toBe(true);
    expect(failed()).toMatchObject([{ errorCode: 'engine_crashed', retryable: true }]);
    expect(finished()).toEqual([]);
  });

  test('a cancelled run ends all of them, counted as far as each got', async () => {
    const { ask, cancel, held, taken, whenOver, finished, outputs } = await heldSubject();
    const runId = await ask({ input: chat(), answers: 3, stream: false });
    await taken(3);
    held.runs[0]?.run.onText('whole');
    held.runs[0]?.finish({ promptTokens: 5, cachedTokens: 1, completionTokens: 3 });
    held.runs[1]?.run.onText('half');
    await cancel(runId);
    await whenOver();
    expect(finished()).toMatchObject([
      { outcome: 'cancelled', finishReason: null, usage: { promptTokens: 5, cachedTokens: 0, completionTokens: 3 + 2 + 2 } },
    ]);
    expect([textOf(outputs(), 0), textOf(outputs(), 1)]).toEqual(['whole', 'half']);
    expect(finished()[0]?.responseHash).toBe(sha256(textOfAnswers([{ text: 'whole' }, { text: 'half' }, { text: '' }])));
  });

  test('of one run never fill the engine: the rest wait their turn', async () => {
    const { ask, held, taken, whenOver, finished } = await heldSubject();
    const prompts = Array.from({ length: LANES_UNDER_WAY_MAX + 3 }, (_, index) => `${index}`);
    await ask({ input: { kind: 'completion', prompts } });
    await taken(LANES_UNDER_WAY_MAX);
    expect(held.load().active).toBe(LANES_UNDER_WAY_MAX);
    for (let done = 0; done < prompts.length; done += 1) {
      await taken(done + 1);
      held.runs[done]?.finish({ promptTokens: 1, cachedTokens: 0, completionTokens: 1 });
    }
    await whenOver();
    expect(finished()[0]?.usage).toEqual({ promptTokens: prompts.length, cachedTokens: 0, completionTokens: prompts.length });
  });

  test('a budget without a token for each fails the attempt for good', async () => {
    const { ask, whenOver, failed } = await heldSubject();
    await ask({ input: chat(), answers: 3, outputTokensBudget: 2 });
    await whenOver();
    expect(failed()).toMatchObject([{ errorCode: 'engine_failed', retryable: false }]);
  });
});

describe('what an answer says', () => {
  test('text and calls are hashed alike, streamed or not', async () => {
    const tool = { name: 'fare_of', parameters: { type: 'object', properties: { line: { enum: ['bus'] } }, required: ['line'] } };
    const input: RunInput = { ...(chat() as RunInput & { kind: 'chat' }), toolUse: { tools: [tool], choice: 'required', parallel: false } };
    const hashes: (string | undefined)[] = [];
    for (const stream of [true, false]) {
      const { ask, whenOver, finished, outputs } = await subjectOf(new EchoEngine());
      await ask({ input, stream });
      await whenOver();
      const deltas = outputs().flatMap(({ toolCalls }) => toolCalls ?? []);
      expect(deltas.length).toBeGreaterThan(0);
      const [{ id = '', name = '' } = {}] = deltas;
      const calls = [{ id, name, arguments: deltas.map(({ argumentsText }) => argumentsText).join('') }];
      expect(calls).toMatchObject([{ name: 'fare_of', arguments: '{"line":"bus"}' }]);
      expect(finished()).toMatchObject([
        { finishReason: 'tool_calls', responseHash: sha256(textOfAnswers([{ text: '', toolCalls: calls }])) },
      ]);
      expect(outputs()[0]).not.toHaveProperty('answer');
      expect(outputs()[0]).not.toHaveProperty('finishReason');
      hashes.push(finished()[0]?.responseHash);
    }
    expect(hashes[0]).toBe(hashes[1]);
  });

  test.each([true, false])('a long answer goes out in messages of bounded size, and no character is cut (streamed: %s)', async (stream) => {
    const { ask, whenOver, finished, outputs, longestBytes } = await subjectOf(new EchoEngine());
    const content = `${'\u0001'.repeat(30_001)}${'😀'.repeat(45_000)}`;
    await ask({ input: chat(content), outputTokensBudget: 200_000, stream });
    await whenOver();
    // Not `toBe`: a difference would print all of it.
    expect(textOf(outputs(), 0) === content).toBe(true);
    expect(longestBytes()).toBeLessThanOrEqual(MESSAGE_BYTES_MAX);
    for (const { text } of outputs()) expect(/\p{Surrogate}/u.test(text)).toBe(false);
    expect(finished()).toMatchObject([{ outputs: outputs().length, responseHash: sha256(textOfAnswers([{ text: content }])) }]);
  });

  test('so do its probabilities and its calls, in order', async () => {
    const { ask, held, taken, whenOver, outputs, longestBytes } = await heldSubject();
    await ask({ input: chat(), stream: false });
    await taken(1);
    const chance = { token: 'sea', bytes: [115, 101, 97], logprob: -0.123456789 };
    const logprobs: TokenLogprob[] = Array.from({ length: 500 }, (_, n) => ({ ...chance, logprob: -n, top: Array(20).fill(chance) }));
    held.latest.run.onText('sea'.repeat(500), logprobs);
    held.latest.finish();
    await whenOver();
    expect(outputs().flatMap((output) => output.logprobs ?? [])).toEqual(logprobs);
    expect(outputs().length).toBeGreaterThan(2);
    expect(longestBytes()).toBeLessThanOrEqual(MESSAGE_BYTES_MAX);
  });

  test('text and probabilities that do not fit into one message together come one after the other', async () => {
    const { ask, held, taken, whenOver, outputs, longestBytes } = await heldSubject();
    await ask({ input: chat(), answers: 2, stream: false });
    await taken(2);
    const chance = { token: '\u0001', bytes: [1], logprob: -0.123456789012345 };
    const logprobs: TokenLogprob[] = Array.from({ length: 100 }, () => ({ ...chance, top: Array(20).fill(chance) }));
    for (const { run, finish } of held.runs) {
      run.onText('\u0001'.repeat(40_000), logprobs);
      finish();
    }
    await whenOver();
    expect(outputs().map(({ answer, logprobs: chances, finishReason }) => [answer, chances?.length, finishReason])).toEqual([
      [0, undefined, undefined],
      [0, 100, 'stop'],
      [1, undefined, undefined],
      [1, 100, 'stop'],
    ]);
    expect(longestBytes()).toBeLessThanOrEqual(MESSAGE_BYTES_MAX);
  });

  test('nothing has no hash', async () => {
    const { ask, held, taken, whenOver, finished } = await heldSubject();
    await ask({ input: chat() });
    await taken(1);
    held.latest.finish();
    await whenOver();
    expect(finished()[0]).toMatchObject({ outputs: 0 });
    expect(finished()[0]).not.toHaveProperty('responseHash');
  });
});

describe('embeddings', () => {
  const input: RunInput = { kind: 'embedding', inputs: ['bus', [1, 2], 'bus'], dimensions: 4 };

  test.each([true, false])('come one output an input (streamed: %s)', async (stream) => {
    const { ask, whenOver, finished, outputs } = await subjectOf(new EchoEngine());
    await ask({ input, outputTokensBudget: 0, stream });
    await whenOver();
    expect(outputs().map(({ answer, text }) => [answer, text])).toEqual([
      [0, ''],
      [1, ''],
      [2, ''],
    ]);
    const vectors = outputs().map(({ embedding = '' }) => Buffer.from(embedding, 'base64'));
    for (const vector of vectors) expect(vector).toHaveLength(16);
    expect(vectors[0]).toEqual(vectors[2]);
    const first = [0, 4, 8, 12].map((at) => vectors[0]?.readFloatLE(at) ?? 0);
    expect(Math.hypot(...first)).toBeCloseTo(1, 5);
    const texts = outputs().map(({ embedding = '' }) => ({ text: embedding }));
    expect(finished()).toMatchObject([
      {
        outcome: 'completed',
        finishReason: 'stop',
        usage: { promptTokens: 4, cachedTokens: 0, completionTokens: 0 },
        outputs: 3,
        responseHash: sha256(textOfAnswers(texts)),
      },
    ]);
  });

  test('an engine that makes none, or too few, fails the attempt', async () => {
    const none = await heldSubject();
    await none.ask({ input });
    await none.whenOver();
    expect(none.failed()).toMatchObject([{ errorCode: 'model_unavailable', retryable: true }]);
    const few = await subjectOf(Object.assign(new HeldEngine(), { embed: async () => ({ vectors: [], usage: NO_USAGE }) }));
    await few.ask({ input });
    await few.whenOver();
    expect(few.failed()).toMatchObject([{ errorCode: 'engine_failed', retryable: true }]);
  });

  test('a run that is cancelled while they are made is cancelled and costs nothing', async () => {
    const embed: Engine['embed'] = ({ signal }) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(new EngineError('engine_failed', 'aborted', true))));
    const { ask, cancel, worker, whenOver, finished } = await subjectOf(Object.assign(new HeldEngine(), { embed }));
    const runId = await ask({ input });
    await waitFor(() => worker.runsInFlight === 1);
    await cancel(runId);
    await whenOver();
    expect(finished()).toMatchObject([{ outcome: 'cancelled', usage: NO_USAGE, outputs: 0 }]);
  });

  test('one that takes longer than it may ends as such', async () => {
    const embed: Engine['embed'] = ({ signal }) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(new EngineError('engine_failed', 'aborted', true))));
    const { ask, time, worker, whenOver, failed } = await subjectOf(Object.assign(new HeldEngine(), { embed }));
    await ask({ input, deadlineMs: time.nowMs() + 1_000 });
    await waitFor(() => worker.runsInFlight === 1);
    time.advance(1_500);
    await whenOver();
    expect(failed()).toMatchObject([{ errorCode: 'deadline_exceeded', retryable: false }]);
  });
});

describe('a transcription', () => {
  const usage = { bytes: 48_044, milliseconds: 1_500 };
  const asked: Pick<RunRequested, 'input' | 'outputTokensBudget'> = {
    input: { kind: 'transcription', mediaId: 'med_1', mediaUrl: 'http://api-1', usage, language: 'sw' },
    outputTokensBudget: 0,
  };

  test('is of the samples that its media source has, counted as they were measured', async () => {
    const wanted: unknown[] = [];
    const source: MediaSource = async (media) => {
      wanted.push(media);
      return Buffer.alloc(48_000);
    };
    const { ask, whenOver, finished, outputs } = await subjectOf(new EchoEngine(), source);
    await ask(asked);
    await whenOver();
    const text = '1.5 seconds of silence';
    expect(wanted).toEqual([{ mediaId: 'med_1', mediaUrl: 'http://api-1' }]);
    expect(JSON.parse(textOf(outputs(), 0))).toEqual({ text, language: 'sw', segments: [{ startMs: 0, endMs: 1_500, text }] });
    expect(finished()).toMatchObject([
      { outcome: 'completed', finishReason: 'stop', usage: { ...NO_USAGE, audio: usage }, responseHash: sha256(textOfAnswers([{ text }])) },
    ]);
  });

  test.each<[string, MediaSource | undefined]>([
    ['no media source', undefined],
    ['one that has no such audio', () => Promise.reject(new Error('gone from http://10.0.0.1'))],
  ])('with %s fails as one to be tried again, without telling where it looked', async (_name, source) => {
    const { ask, whenOver, failed } = await subjectOf(new EchoEngine(), source);
    await ask(asked);
    await whenOver();
    expect(failed()).toMatchObject([{ errorCode: 'engine_failed', retryable: true }]);
    expect(JSON.stringify(failed())).not.toContain('10.0.0.1');
  });

  test('is cancelled even while its samples are on their way', async () => {
    const { ask, cancel, worker, whenOver, finished } = await subjectOf(new EchoEngine(), () => new Promise(() => {}));
    const runId = await ask(asked);
    await waitFor(() => worker.runsInFlight === 1);
    await cancel(runId);
    await whenOver();
    expect(finished()).toMatchObject([{ outcome: 'cancelled', usage: NO_USAGE }]);
  });
});
