import { describe, expect, test } from '@jest/globals';
import { seededRandom } from '../random.js';
import { readDialogueGroups, readFacts, readSlotLists } from './corpus-files.js';
import { DialogueSource } from './dialogue-source.js';
import { expandTemplate, type SlotSource } from './template.js';

const entry = (key: string, value = key) => ({ key, value });

function expansions(template: string, sources: ReadonlyMap<string, SlotSource> = new Map()): Set<string> {
  const random = seededRandom(1);
  return new Set(Array.from({ length: 200 }, () => expandTemplate(template, sources, new Map(), random)));
}

describe('expandTemplate', () => {
  test.each([
    ['Go (left|right)', ['Go left', 'Go right']],
    ['Hi(|!)', ['Hi', 'Hi!']],
    ['A(b(c|d)|e)', ['Abc', 'Abd', 'Ae']],
    ['small. words', ['Small. Words']],
    ['I saw a owl', ['I saw an owl']],
    ['I saw a unicorn', ['I saw a unicorn']],
  ])('%s', (template, expected) => {
    expect(Array.from(expansions(template)).sort()).toEqual([...expected].sort());
  });

  test('a slot keeps its word, a numbered one takes another', () => {
    const sources = new Map([['x', [entry('Sun'), entry('Moon')]]]);
    expect(Array.from(expansions('{x} {x} {x.2}', sources)).sort()).toEqual(['Moon Moon Sun', 'Sun Sun Moon']);
  });

  test('a pair gives both its sides', () => {
    expect(expansions('{x} is {x:value}', new Map([['x', [entry('Up', 'down')]]]))).toEqual(new Set(['Up is down']));
  });

  test.each(['(a', 'a)', '{nothing}'])('%s throws', (template) => {
    expect(() => expansions(template)).toThrow();
  });
});

describe('the corpus', () => {
  test('every template of every group expands', () => {
    const slots = new Set([...readSlotLists('words.txt').keys(), ...readSlotLists('pairs.txt').keys(), 'noise', 'unknown']);
    const templates = readDialogueGroups('dialogues.txt').flatMap(({ rounds }) =>
      rounds.flatMap(({ questions, answers }) => [...questions, ...answers]),
    );
    const used = templates.flatMap((template) => Array.from(template.matchAll(/\{([a-z_]+)/g), ([, name]) => name ?? ''));
    expect(templates.length).toBeGreaterThan(200);
    expect(used.filter((name) => !slots.has(name))).toEqual([]);
    for (const template of templates) expect(() => expansions(template.replace(/[{}]/g, ''))).not.toThrow();
  });

  test('every round has a question and an answer', () => {
    const lacking = readDialogueGroups('dialogues.txt').filter(({ rounds }) =>
      rounds.some(({ questions, answers }) => questions.length === 0 || answers.length === 0),
    );
    expect(lacking).toEqual([]);
  });

  test('every fact ends its sentences', () => {
    for (const { sentences } of readFacts('facts.txt')) for (const sentence of sentences) expect(sentence).toMatch(/^\S.*\.$/);
  });

  test('one seed gives one corpus and another seed another', () => {
    const samples = (seed: number): string => {
      const [source, random] = [new DialogueSource(), seededRandom(seed)];
      return JSON.stringify(Array.from({ length: 200 }, () => source.next(random)));
    };
    expect(samples(1)).toBe(samples(1));
    expect(samples(1)).not.toBe(samples(2));
  });

  test('answers are plain English sentences', () => {
    const [source, random] = [new DialogueSource(), seededRandom(3)];
    for (let i = 0; i < 2000; i++) {
      const sample = source.next(random);
      const answers =
        sample.kind === 'text' ? [sample.text] : sample.turns.filter(({ role }) => role === 'assistant').map(({ content }) => content);
      for (const answer of answers) expect(answer).toMatch(/^[A-Za-z0-9][\x20-\x7e]*$/);
    }
  });
});
