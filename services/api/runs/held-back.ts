/** What one execution has put out, kept until the books have accepted one. */
import type { RunOutput } from '../../../events/contract/index.js';

/**
 * Characters kept of one execution: two thousand vectors of two thousand numbers, and far more than any output budget allows as text. What goes
 * beyond is not kept, and then the answer is lost.
 */
export const HELD_BACK_CHARACTERS_MAX = 33_554_432;

/** What an output takes beside its texts, roughly, and each part of a call and each reported token. */
const CHARACTERS_PER_ITEM = 64;

export class HeldBack {
  readonly #outputs: RunOutput[] = [];
  #characters = 0;

  get outputs(): readonly RunOutput[] {
    return this.#outputs;
  }

  /** Whether there was room for it. */
  add(output: RunOutput): boolean {
    this.#characters += charactersOf(output);
    if (this.#characters > HELD_BACK_CHARACTERS_MAX) return false;
    this.#outputs.push(output);
    return true;
  }
}

function charactersOf({ text, embedding = '', toolCalls = [], logprobs = [] }: RunOutput): number {
  let characters = CHARACTERS_PER_ITEM + text.length + embedding.length;
  for (const { argumentsText } of toolCalls) characters += CHARACTERS_PER_ITEM + argumentsText.length;
  for (const { top } of logprobs) characters += CHARACTERS_PER_ITEM * (1 + top.length);
  return characters;
}
