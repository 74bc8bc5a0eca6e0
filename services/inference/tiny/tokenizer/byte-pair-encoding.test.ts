import { describe, expect, test } from '@jest/globals';
import { learnVocabulary, Tokenizer } from './byte-pair-encoding.js';

const TEXTS = ['the bus and the sea', 'the bus and the bell', 'a bus by the sea'];

describe('learnVocabulary', () => {
  test('the 256 bytes come first, then one piece a merge', () => {
    const { pieces, merges } = learnVocabulary(TEXTS, 10);
    expect(pieces.length).toBe(256 + merges.length);
    expect(new Set(pieces).size).toBe(pieces.length);
    expect(merges.map((pair) => pair.replace(' ', ''))).toEqual(pieces.slice(256));
  });

  test('a frequent word becomes one token with the space before it', () => {
    const vocabulary = learnVocabulary(TEXTS, 50);
    expect(vocabulary.pieces).toContain('Ġthe');
    expect(new Tokenizer(vocabulary).encode('a the')).toHaveLength(2);
  });

  test('it stops when no pair occurs twice', () => {
    expect(learnVocabulary(['xy'], 50).merges).toEqual([]);
  });
});

describe('Tokenizer', () => {
  const tokenizer = new Tokenizer(learnVocabulary(TEXTS, 50));

  test('text outside the corpus falls back to its bytes', () => {
    expect(tokenizer.encode('é')).toHaveLength(2);
    expect(tokenizer.encode('🙂')).toHaveLength(4);
    expect(tokenizer.encode('')).toEqual([]);
  });
});
