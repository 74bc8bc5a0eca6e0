/** The batching loop over a decoder that keeps a record: who takes part in which decode, and what happens when things go wrong. */
import { describe, expect, test } from '@jest/globals';
import type { Sampling } from '../../../events/contract/index.js';
import { type BatchDecoder, type BatchItem, NO_TOKEN } from './batch-decoder.js';
import { BatchLoop, type PreparedRun } from './batch-loop.js';
import type { RunEnding, Step } from './protocol.js';
import { PieceTable } from './token-text.js';
import type { Vocabulary } from './vocabulary.js';

const SAMPLING: Sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: 1 };
const END = 0;

/** Token n is the letter with code n. */
const letters: Vocabulary = {
  tokenize: (text) => Uint32Array.from(text, (letter) => letter.charCodeAt(0)),
  detokenize: (tokens) => String.fromCharCode(...tokens),
  spelling: (token) => String.fromCharCode(token),
  isToken: (token) => token < 128,
  isEnd: (token) => token === END,
  beginToken: null,
  startToken: null,
  controlSpellings: [],
  beginText: '',
  endText: '',
};

/** Says the alphabet on from the last token, and ends the answer after z. Checks that positions follow each other. */
class RecordingDecoder implements BatchDecoder {
  readonly slotTokens = 64;
  readonly batchTokens = 40;
  readonly batches: (readonly BatchItem[])[] = [];
  readonly held: number[];
  samplersAlive = 0;
  /** Holds decodes back until it is resolved. */
  gate: Promise<void> = Promise.resolve();
  failNext = false;

  constructor(readonly slots: number) {
    this.held = new Array<number>(slots).fill(0);
  }

  createSampler() {
    this.samplersAlive += 1;
    return {
      dispose: () => {
        this.samplersAlive -= 1;
      },
    };
  }

  async decode(items: readonly BatchItem[]): Promise<readonly number[]> {
    this.batches.push(items);
    await this.gate;
    if (this.failNext) {
      this.failNext = false;
      throw new Error('decode failed');
    }
    return items.map(({ slot, position, tokens, sampler }) => {
      expect(position).toBe(this.held[slot]);
      this.held[slot] = position + tokens.length;
      const last = tokens.at(-1) ?? 0;
      return sampler === null ? NO_TOKEN : last === 'z'.charCodeAt(0) ? END : last + 1;
    });
  }

  truncate(slot: number, tokens: number): Promise<number> {
    this.held[slot] = tokens;
    return Promise.resolve(tokens);
  }
}

function loopOver(decoder: RecordingDecoder) {
  const texts = new Map<number, string>();
  const endings = new Map<number, RunEnding>();
  const failures = new Map<number, string>();
  const waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  const report = (step: Step) => {
    for (const [run, text] of step.texts) {
      expect(endings.has(run)).toBe(false);
      texts.set(run, (texts.get(run) ?? '') + text);
    }
    for (const ending of step.endings) endings.set(ending.run, ending);
    for (const failure of step.failures) failures.set(failure.run, failure.code);
    for (const { count, resolve } of waiting) if (endings.size + failures.size >= count) resolve();
  };
  const loop = new BatchLoop({ decoder, pieces: new PieceTable(letters), isEnd: letters.isEnd, report, nowMs: () => 0 });
  const whenEnded = (count: number) =>
    new Promise<void>((resolve) => {
      if (endings.size + failures.size >= count) resolve();
      else waiting.push({ count, resolve });
    });
  return { loop, texts, endings, failures, whenEnded };
}

const order = (run: number, prompt: string, outputTokensBudget = 100): PreparedRun => ({
  run,
  prompt: letters.tokenize(prompt, true),
  sampling: SAMPLING,
  stop: [],
  outputTokensBudget,
});

describe('batching loop', () => {
  test('every run that generates takes part in every decode until it ends', async () => {
    const decoder = new RecordingDecoder(3);
    const { loop, texts, endings, whenEnded } = loopOver(decoder);
    for (const run of [1, 2, 3]) loop.submit(order(run, `${run}a`, 5 * run));
    await whenEnded(3);
    expect([...texts.values()]).toEqual(['bcdef', 'bcdefghijk', 'bcdefghijklmnop']);
    // The first run was admitted alone; from then on nobody is left out.
    const sizes = decoder.batches.slice(1).map((batch) => batch.length);
    expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
    expect(Math.max(...sizes)).toBe(3);
    expect(decoder.batches.length).toBeLessThanOrEqual(16);
    expect([...endings.values()].map(({ finishReason, completionTokens }) => [finishReason, completionTokens])).toEqual([
      ['length', 5],
      ['length', 10],
      ['length', 15],
    ]);
    expect(decoder.samplersAlive).toBe(0);
  });

  test('the token that ends an answer is not counted and not said', async () => {
    const { loop, texts, endings, whenEnded } = loopOver(new RecordingDecoder(1));
    loop.submit(order(1, 'w'));
    await whenEnded(1);
    expect(texts.get(1)).toBe('xyz');
    expect(endings.get(1)).toMatchObject({ finishReason: 'stop', promptTokens: 1, cachedTokens: 0, completionTokens: 3 });
  });

  test('long prompts are read in chunks, and no decode exceeds the batch', async () => {
    const decoder = new RecordingDecoder(4);
    const { loop, texts, whenEnded } = loopOver(decoder);
    loop.submit(order(1, 'a', 20));
    for (const run of [2, 3, 4]) loop.submit(order(run, `${run}${'-'.repeat(50)}a`, 3));
    await whenEnded(4);
    for (const batch of decoder.batches) {
      expect(batch.reduce((tokens, item) => tokens + item.tokens.length, 0)).toBeLessThanOrEqual(decoder.batchTokens);
    }
    expect(texts.get(1)).toBe('bcdefghijklmnopqrstu');
    expect([2, 3, 4].map((run) => texts.get(run))).toEqual(['bcd', 'bcd', 'bcd']);
    // The first run generated in every decode of the others' prompts.
    for (const batch of decoder.batches.slice(1, 5)) expect(batch[0]).toMatchObject({ slot: 0 });
  });

  test('a run gets the free slot that holds most of its prompt, and reads only the rest', async () => {
    const decoder = new RecordingDecoder(2);
    const { loop, endings, whenEnded } = loopOver(decoder);
    loop.submit(order(1, 'first conversation', 2));
    loop.submit(order(2, 'second one', 2));
    await whenEnded(2);
    loop.submit(order(3, 'second one opq and on', 2));
    loop.submit(order(4, 'first conversation', 2));
    await whenEnded(4);
    // "second one" and the first token of its answer, "f"; and at least the last token is read again.
    expect(endings.get(3)).toMatchObject({ cachedTokens: 'second one'.length, promptTokens: 21 });
    expect(endings.get(4)).toMatchObject({ cachedTokens: 'first conversation'.length - 1, promptTokens: 18 });
  });

  test('an answer ends where its slot does', async () => {
    const decoder = new RecordingDecoder(1);
    const { loop, endings, whenEnded } = loopOver(decoder);
    loop.submit(order(1, `${'-'.repeat(59)}a`));
    await whenEnded(1);
    expect(endings.get(1)).toMatchObject({ finishReason: 'length', promptTokens: 60, completionTokens: 4 });
    expect(decoder.held[0]).toBeLessThan(decoder.slotTokens);
  });

  test('a run cancelled during a decode keeps nothing of it and frees its slot for the next', async () => {
    const decoder = new RecordingDecoder(1);
    const { loop, texts, endings, whenEnded } = loopOver(decoder);
    let open = () => {};
    decoder.gate = new Promise((resolve) => {
      open = resolve;
    });
    loop.submit(order(1, 'abc'));
    loop.submit(order(2, 'k', 2));
    loop.submit(order(3, 'never'));
    loop.cancel(1);
    loop.cancel(3);
    loop.cancel(99);
    expect(endings.get(3)).toMatchObject({ outcome: 'cancelled', promptTokens: 0, completionTokens: 0 });
    open();
    await whenEnded(3);
    expect(endings.get(1)).toMatchObject({ outcome: 'cancelled', finishReason: null, promptTokens: 3, completionTokens: 0 });
    expect(texts.get(1)).toBeUndefined();
    expect(texts.get(2)).toBe('lm');
  });

  test('a failed decode fails the runs in it, forgets the caches and serves the next run', async () => {
    const decoder = new RecordingDecoder(2);
    const { loop, texts, failures, whenEnded } = loopOver(decoder);
    decoder.failNext = true;
    loop.submit(order(1, 'abc'));
    await whenEnded(1);
    expect([...failures]).toEqual([[1, 'engine_failed']]);
    expect(decoder.held).toEqual([0, 0]);
    loop.submit(order(2, 'abc', 2));
    await whenEnded(2);
    expect(texts.get(2)).toBe('de');
    expect(decoder.samplersAlive).toBe(0);
  });

  test('stop sequences end a run and count the tokens that spelt them', async () => {
    const { loop, texts, endings, whenEnded } = loopOver(new RecordingDecoder(1));
    loop.submit({ ...order(1, 'a'), stop: ['efg'] });
    await whenEnded(1);
    expect(texts.get(1)).toBe('bcd');
    expect(endings.get(1)).toMatchObject({ finishReason: 'stop', completionTokens: 6 });
  });
});
