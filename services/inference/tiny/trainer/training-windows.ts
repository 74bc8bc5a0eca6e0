/** Packs conversations into windows of equal length for the trainer. */
import type { DialogueSource, Sample } from '../corpus/dialogue-source.js';
import type { Random } from '../random.js';
import type { Tokenizer } from '../tokenizer/byte-pair-encoding.js';
import { type ControlTokenIds, encodeTurn } from '../tokenizer/chat-format.js';
import { type BatchExtents, NO_TARGET, type TrainingBatch } from './training-batch.js';

/** Share of the conversations that see what came before them in their window; the others begin afresh, which is the easier lesson. */
const HISTORY_SHARE = 0.35;
/**
 * History and pasted text count up to 2 to this power times as long as they are, in attention and in positions: the windows are short, and
 * a network that has only met short prompts loses the question in a long one. Without this, answers after 1,500 tokens were no longer English.
 */
const REPEATS_LOG2_MAX = 6;
const REPEATED_SHARE = 0.6;

type Part = {
  readonly tokens: readonly number[];
  readonly learnFrom: number;
  readonly learnTo: number;
  /** The tokens between these are pasted text. */
  readonly pastedFrom: number;
  readonly pastedTo: number;
};

export class TrainingWindows {
  readonly #source: DialogueSource;
  readonly #tokenizer: Tokenizer;
  readonly #control: ControlTokenIds;

  constructor(source: DialogueSource, tokenizer: Tokenizer, control: ControlTokenIds) {
    this.#source = source;
    this.#tokenizer = tokenizer;
    this.#control = control;
  }

  /** @param withHistory false for the first lessons: each conversation alone, nothing longer than it is. */
  batch({ windows, windowLength }: BatchExtents, withHistory: boolean, random: Random): TrainingBatch {
    const rows = windows * windowLength;
    const batch: TrainingBatch = {
      tokens: new Int32Array(rows),
      targets: new Int32Array(rows).fill(NO_TARGET),
      positions: new Int32Array(rows),
      visibleFrom: new Int32Array(rows),
      ownFrom: new Int32Array(rows),
      historyRepeats: new Float32Array(rows),
      ownRepeats: new Float32Array(rows),
    };
    for (let from = 0; from < rows; from += windowLength) {
      const to = from + windowLength;
      this.#fill(
        {
          tokens: batch.tokens.subarray(from, to),
          targets: batch.targets.subarray(from, to),
          positions: batch.positions.subarray(from, to),
          visibleFrom: batch.visibleFrom.subarray(from, to),
          ownFrom: batch.ownFrom.subarray(from, to),
          historyRepeats: batch.historyRepeats.subarray(from, to),
          ownRepeats: batch.ownRepeats.subarray(from, to),
        },
        withHistory,
        random,
      );
    }
    return batch;
  }

  /** Fills one window with whole conversations; the last is cut off. */
  #fill(window: TrainingBatch, withHistory: boolean, random: Random): void {
    let at = 0;
    let position = 0;
    let visibleFrom = 0;
    while (at < window.tokens.length) {
      const ownFrom = at;
      if (!withHistory || !random.chance(HISTORY_SHARE)) {
        visibleFrom = at;
        position = 0;
      }
      const historyRepeats = withHistory ? repeats(random) : 1;
      const pastedRepeats = withHistory ? repeats(random) : 1;
      position += Math.round((ownFrom - visibleFrom) * (historyRepeats - 1));
      for (const part of this.#parts(this.#source.next(random))) {
        for (let index = 0; index < part.tokens.length && at < window.tokens.length; index++, at++) {
          const token = part.tokens[index] as number;
          const pasted = index >= part.pastedFrom && index < part.pastedTo;
          window.tokens[at] = token;
          window.positions[at] = Math.round(position);
          window.visibleFrom[at] = visibleFrom;
          window.ownFrom[at] = ownFrom;
          window.historyRepeats[at] = historyRepeats;
          window.ownRepeats[at] = pasted ? pastedRepeats : 1;
          if (at > ownFrom && index >= part.learnFrom && index < part.learnTo) window.targets[at - 1] = token;
          position += pasted ? pastedRepeats : 1;
        }
      }
    }
  }

  /** The model learns to speak as the assistant and to continue plain text, not to speak as the user. */
  #parts(sample: Sample): Part[] {
    if (sample.kind === 'text') {
      const { endOfText } = this.#control;
      const tokens = [endOfText, ...this.#tokenizer.encode(sample.text), endOfText];
      return [{ tokens, learnFrom: 1, learnTo: tokens.length, pastedFrom: 0, pastedTo: 0 }];
    }
    return sample.turns.map((turn) => {
      const { tokens, contentFrom, contentTo } = encodeTurn(this.#tokenizer, this.#control, turn);
      const pasted = turn.pasted ?? '';
      const before = turn.content.slice(0, turn.content.indexOf(pasted));
      const pastedFrom = contentFrom + this.#tokenizer.encode(before).length;
      const pastedTo = pastedFrom + this.#tokenizer.encode(pasted).length;
      const spoken = turn.role === 'assistant';
      return { tokens, learnFrom: spoken ? contentFrom : 0, learnTo: spoken ? contentTo : 0, pastedFrom, pastedTo };
    });
  }
}

/** 1, or a random number up to the bound whose logarithm is evenly spread. */
function repeats(random: Random): number {
  if (!random.chance(REPEATED_SHARE)) return 1;
  const exponent = random.fraction() * REPEATS_LOG2_MAX;
  const whole = Math.floor(exponent);
  return 2 ** whole * (1 + exponent - whole);
}
