/**
 * Windows of random tokens said twice. Names, echoes and the thread of a story need a network that can copy from what was said before; it
 * finds out how within some 250 steps of this drill, and did not within 800 steps of the corpus alone, where copying is a small part of the loss.
 */
import type { Random } from '../random.js';
import { type BatchExtents, NO_TARGET, type TrainingBatch } from './training-batch.js';

const PHRASE_MIN = 8;
const PHRASE_MAX = 100;

/** Pairs of equal phrases; the second of each pair is to be predicted. */
export function copyingDrill(extents: BatchExtents, vocabularySize: number, random: Random): TrainingBatch {
  const { windows, windowLength } = extents;
  const count = windows * windowLength;
  const tokens = new Int32Array(count);
  const targets = new Int32Array(count).fill(NO_TARGET);
  const positions = Int32Array.from({ length: count }, (_, row) => row % windowLength);
  for (let window = 0; window < windows; window++) {
    const end = (window + 1) * windowLength;
    for (let start = window * windowLength; start < end; ) {
      const phraseLength = PHRASE_MIN + random.below(PHRASE_MAX - PHRASE_MIN);
      for (let i = 0; i < 2 * phraseLength && start + i < end; i++) {
        const at = start + i;
        tokens[at] = i < phraseLength ? random.below(vocabularySize) : (tokens[at - phraseLength] as number);
        if (i > phraseLength) targets[at - 1] = tokens[at] as number;
      }
      start += 2 * phraseLength;
    }
  }
  return { tokens, targets, positions };
}
