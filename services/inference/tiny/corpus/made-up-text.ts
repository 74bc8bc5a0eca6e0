/**
 * Text that means nothing: words that do not exist, jumbled sentences, digits and signs. A model that has never met such input answers it
 * with the nearest thing it knows; having met it, it says that it does not know.
 */
import type { Random } from '../random.js';
import type { SlotEntry } from './template.js';

const ONSETS = [
  'b',
  'br',
  'c',
  'ch',
  'cl',
  'd',
  'dr',
  'f',
  'fl',
  'g',
  'gr',
  'h',
  'j',
  'k',
  'l',
  'm',
  'n',
  'p',
  'pl',
  'qu',
  'r',
  's',
  'st',
  'sh',
  't',
  'tr',
  'th',
  'v',
  'w',
  'x',
  'z',
  '',
];
const VOWELS = ['a', 'e', 'i', 'o', 'u', 'ai', 'ea', 'io', 'ou', 'y'];
const CODAS = ['', '', '', 'n', 'r', 's', 't', 'l', 'm', 'ck', 'nd', 'st', 'x', 'ng', 'tion', 'ism', 'ics', 'ing', 'er'];
const SIGNS = [
  '.',
  ',',
  '!',
  '?',
  ' -',
  ' =',
  ';',
  ':',
  ' {',
  ' }',
  '()',
  ' #',
  ' @',
  ' &',
  ' $5',
  ' 42',
  ' 100',
  ' 2026',
  ' …',
  ' é',
  ' 你好',
  ' привет',
  ' 🙂',
  '\n',
  '\n\n',
  ' "x"',
];
const SYLLABLES_MAX = 3;
/** The text of a user who pastes a page is cut to this, since the windows are not longer. */
const JUMBLE_WORDS_MAX = 80;
const SHORT_JUMBLE_WORDS_MAX = 8;

function madeUpWord(random: Random): string {
  let word = '';
  for (let left = 1 + random.below(SYLLABLES_MAX); left > 0; left--) word += random.pick(ONSETS) + random.pick(VOWELS) + random.pick(CODAS);
  return random.chance(0.2) ? capitalized(word) : word;
}

const capitalized = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1);
const same = (text: string): SlotEntry => ({ key: text, value: text });

/** Slots of the templates whose entries are made on the spot from the words of the corpus. */
export function madeUpSlots(words: readonly string[]): Map<string, (random: Random) => SlotEntry> {
  const anyWord = (random: Random): string => (random.chance(0.5) ? random.pick(words) : madeUpWord(random));
  const phrase = (random: Random, wordsMax: number, next: (random: Random) => string): string =>
    Array.from({ length: 1 + random.below(wordsMax) }, () => next(random)).join(' ');
  const jumble = (random: Random): string => {
    const parts = Array.from({ length: 2 + random.below(random.chance(0.5) ? SHORT_JUMBLE_WORDS_MAX : JUMBLE_WORDS_MAX) }, (_, index) => {
      const separator = index === 0 ? '' : ' ';
      return separator + anyWord(random) + (random.chance(0.15) ? random.pick(SIGNS) : '');
    });
    return parts.join('');
  };
  return new Map([
    ['noise', (random: Random) => same(jumble(random))],
    ['unknown', (random: Random) => same(phrase(random, 2, madeUpWord))],
  ]);
}
