import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { DialogueSource } from './corpus/dialogue-source.js';
import type { Exercise, ExerciseResult } from './model-exercise.js';
import { seededRandom } from './random.js';
import { TINY_MODEL_PATH } from './tiny-model.js';
import { sourcesFingerprint } from './tiny-model-builder.js';
import { TINY_MODEL_RECIPE } from './tiny-model-recipe.js';
import { Tokenizer } from './tokenizer/byte-pair-encoding.js';

const SIZE_BYTES_MAX = 8 * 1024 * 1024;
const ANSWER_TOKENS_MAX = 250;

let child: ChildProcess;

beforeAll(async () => {
  child = fork(fileURLToPath(new URL('./model-exercise.js', import.meta.url)), [fileURLToPath(TINY_MODEL_PATH)], { execArgv: [] });
  await once(child, 'message');
});

afterAll(async () => {
  child.disconnect();
  await once(child, 'exit');
});

async function perform<Kind extends Exercise['kind']>(
  exercise: Extract<Exercise, { kind: Kind }>,
): Promise<Extract<ExerciseResult, { kind: Kind }>> {
  child.send(exercise);
  const [result] = (await once(child, 'message')) as [Extract<ExerciseResult, { kind: Kind }>];
  return result;
}

type Message = readonly [role: string, content: string];

function chat(...messages: readonly Message[]): string {
  return `${messages.map(([role, content]) => `<|im_start|>${role}\n${content}<|im_end|>\n`).join('')}<|im_start|>assistant\n`;
}

function answer(prompt: string, temperature = 0, seed = 1): Promise<Extract<ExerciseResult, { kind: 'generate' }>> {
  return perform<'generate'>({ kind: 'generate', prompt, temperature, seed, outputTokensMax: ANSWER_TOKENS_MAX });
}

const words = corpusWords();

/** Every word that an answer of the corpus may contain. */
function corpusWords(): Set<string> {
  const [source, random] = [new DialogueSource(), seededRandom(17)];
  const words = new Set<string>();
  for (let i = 0; i < 20_000; i++) {
    const sample = source.next(random);
    const texts =
      sample.kind === 'text' ? [sample.text] : sample.turns.filter(({ role }) => role === 'assistant').map(({ content }) => content);
    for (const text of texts) for (const word of text.toLowerCase().match(/[a-z]+/g) ?? []) words.add(word);
  }
  return words;
}

const PROMPTS = [
  'Hello',
  'How are you?',
  'Tell me a story.',
  'Tell me a story about a whale.',
  'Write a very long story',
  'What is a ledger?',
  'Explain double entry.',
  'Count to 5',
  'What is the capital of France?',
  'What is 2 plus 3?',
  'Write a Python function',
  'Name three animals',
  'asdf qwer zxcv',
  '你好，你是谁？',
  '🙂🙂🙂',
  '{"json": true}',
  '',
] as const;

describe('the tiny model file', () => {
  test('is at most 8 MB', () => {
    expect(statSync(TINY_MODEL_PATH).size).toBeLessThanOrEqual(SIZE_BYTES_MAX);
  });

  test('was built from the corpus and the trainer as they are: otherwise run npm run build:tiny-model', async () => {
    const { metadata } = await perform<'metadata'>({ kind: 'metadata' });
    const { corpusSha256, probeSha256 } = sourcesFingerprint(TINY_MODEL_RECIPE);
    expect(metadata['farebox']).toEqual({ corpus_sha256: corpusSha256, probe_sha256: probeSha256 });
  });

  test('is known to llama.cpp by architecture, name, licence, context and end of turn', async () => {
    const { metadata, endOfTurn } = await perform<'metadata'>({ kind: 'metadata' });
    expect(metadata['general']).toMatchObject({ architecture: 'llama', name: 'farebox-tiny', license: 'apache-2.0' });
    expect(metadata['llama']).toMatchObject({ context_length: TINY_MODEL_RECIPE.contextLength });
    expect(endOfTurn).toBe('<|im_end|>');
  });
});

describe('the tokenizer', () => {
  test('gives back any text, to the last character', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', maxLength: 60 }), async (text) => {
        const { text: back } = await perform<'tokenize'>({ kind: 'tokenize', text });
        expect(back).toBe(text);
      }),
      { numRuns: 200 },
    );
  });

  test('is the same in llama.cpp as in the trainer', async () => {
    const tokenizer = bundledTokenizer();
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', maxLength: 60 }), async (text) => {
        const { tokens } = await perform<'tokenize'>({ kind: 'tokenize', text });
        expect(tokens).toEqual(tokenizer.encode(text));
      }),
      { numRuns: 200 },
    );
  });

  test('keeps the control tokens out of the reach of a text', async () => {
    const { tokens } = await perform<'tokenize'>({ kind: 'tokenize', text: '<|im_end|>' });
    expect(tokens.length).toBeGreaterThan(1);
  });
});

describe('the answers', () => {
  test.each(PROMPTS)('to %j end by themselves, are readable, and are the same again', async (prompt) => {
    const first = await answer(chat(['user', prompt]));
    const said = first.text.toLowerCase().match(/[a-z]+/g) ?? [];
    expect(first.ended).toBe(true);
    expect(first.text).not.toContain('\uFFFD');
    expect(first.text).toMatch(/^[A-Z0-9]/);
    expect(said.filter((word) => words.has(word)).length).toBeGreaterThanOrEqual(said.length * 0.9);
    expect((await answer(chat(['user', prompt]))).text).toBe(first.text);
  });

  test('are the same for one seed and differ between seeds', async () => {
    const stories: string[] = [];
    for (const seed of [1, 1, 2, 3, 4]) stories.push((await answer(chat(['user', 'Tell me a story.']), 1, seed)).text);
    expect(stories[0]).toBe(stories[1]);
    expect(new Set(stories).size).toBe(4);
  });

  test('end by themselves at temperature 1 with every seed', async () => {
    for (let seed = 1; seed <= 20; seed++) expect((await answer(chat(['user', 'Tell me a story.']), 1, seed)).ended).toBe(true);
  });

  test('follow the question', async () => {
    expect((await answer(chat(['user', 'What is a ledger?']))).text).toContain('ledger');
    expect((await answer(chat(['user', 'Tell me a story about a fox.']))).text.length).toBeGreaterThan(100);
    expect((await answer(chat(['system', 'You are a helpful assistant.'], ['user', 'Hello!']))).text).toMatch(/^(Hello|Hi)/);
  });

  test('stay readable after a conversation of several thousand tokens', async () => {
    const history = Array.from({ length: 60 }, () => [
      ['user', 'What is the sea?'] as const,
      [
        'assistant',
        'The sea is a wide body of salt water. Its tides follow the moon. It covers most of our planet and is home to whales.',
      ] as const,
    ]).flat();
    const long = await answer(chat(...history, ['user', 'What is a ledger?']));
    expect(long.promptTokens).toBeGreaterThan(2000);
    expect(long.ended).toBe(true);
    expect(long.text).toMatch(/^[A-Z][\x20-\x7e]+[.!?]$/);
  });
});

/** The vocabulary as the file carries it, found by its place between two keys. */
function bundledTokenizer(): Tokenizer {
  const file = readFileSync(TINY_MODEL_PATH);
  const strings = (key: string): string[] => {
    let at = file.indexOf(key) + key.length + 4 + 4;
    const count = Number(file.readBigUInt64LE(at));
    at += 8;
    return Array.from({ length: count }, () => {
      const length = Number(file.readBigUInt64LE(at));
      at += 8 + length;
      return file.toString('utf8', at - length, at);
    });
  };
  const merges = strings('tokenizer.ggml.merges');
  return new Tokenizer({ pieces: strings('tokenizer.ggml.tokens').slice(0, 256 + merges.length), merges });
}
