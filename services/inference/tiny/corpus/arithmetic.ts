/** Counting and sums with small numbers: the only mathematics that fits into so small a model. */
import type { Random } from '../random.js';

const COUNT_MAX = 12;
const TERM_MAX = 6;
const FACTOR_MAX = 5;

function sequence(from: number, to: number): string {
  const step = from <= to ? 1 : -1;
  return Array.from({ length: Math.abs(to - from) + 1 }, (_, index) => from + index * step).join(', ');
}

function countingQuestion(random: Random): readonly [question: string, answer: string] {
  const low = 1 + random.below(4);
  const high = low + 2 + random.below(COUNT_MAX - low - 1);
  switch (random.below(4)) {
    case 0:
      return [`Count from ${low} to ${high}`, sequence(low, high)];
    case 1:
      return [`Count (down|backwards) from ${Math.min(high, 10)}`, sequence(Math.min(high, 10), 1)];
    default:
      return [`(Count|Please count|Can you count|Count up|Count numbers) to ${high}`, sequence(1, high)];
  }
}

function sumQuestion(random: Random): readonly [question: string, answer: string] {
  const a = random.below(TERM_MAX + 1);
  const b = random.below(TERM_MAX + 1);
  switch (random.below(4)) {
    case 0: {
      const [large, small] = a > b ? [a, b] : [b, a];
      return [`(What is |Calculate |How much is |)${large} (minus|-) ${small}?`, `${large} minus ${small} is ${large - small}`];
    }
    case 1: {
      const [x, y] = [a % (FACTOR_MAX + 1), b % (FACTOR_MAX + 1)];
      return [`(What is |Calculate |How much is |)${x} (times|*|x) ${y}?`, `${x} times ${y} is ${x * y}`];
    }
    default:
      return [`(What is |Calculate |How much is |Add |)${a} (plus|+|and) ${b}?`, `${a} plus ${b} is ${a + b}`];
  }
}

/** Templates of a question about numbers and of its answer. */
export function arithmeticRound(random: Random): readonly [question: string, answer: string] {
  const [question, answer] = random.chance(0.4) ? countingQuestion(random) : sumQuestion(random);
  return [question, `${answer}.`];
}
