import { describe, expect, test } from '@jest/globals';
import { DialogueSource } from '../corpus/dialogue-source.js';
import { seededRandom } from '../random.js';
import { learnVocabulary, Tokenizer } from '../tokenizer/byte-pair-encoding.js';
import { controlTokenIds } from '../tokenizer/chat-format.js';
import { NO_TARGET } from './training-batch.js';
import { TrainingWindows } from './training-windows.js';

const vocabulary = learnVocabulary(['user\nassistant\nsystem\nHello there, hello again.'], 40);
const control = controlTokenIds(vocabulary);
const windows = new TrainingWindows(new DialogueSource(), new Tokenizer(vocabulary), control);
const extents = { windows: 3, windowLength: 448 };

describe('TrainingWindows', () => {
  const batches = [false, true].flatMap((withHistory) =>
    Array.from({ length: 10 }, (_, seed) => windows.batch(extents, withHistory, seededRandom(seed))),
  );

  test('a target is the token that follows', () => {
    for (const { tokens, targets } of batches) {
      const counted = Array.from(targets.entries()).filter(([, target]) => target !== NO_TARGET);
      expect(counted.length).toBeGreaterThan(50);
      for (const [row, target] of counted) expect(target).toBe(tokens[row + 1]);
    }
  });

  test('the end of an answer is learned, the beginning of a turn is not', () => {
    const targets = new Set(batches.flatMap((batch) => Array.from(batch.targets)));
    expect(targets.has(control.turnEnd)).toBe(true);
    expect(targets.has(control.turnStart)).toBe(false);
  });

  test('a row sees itself, its conversation and perhaps what came before, at rising positions', () => {
    const wrongRows = batches.flatMap(({ positions, visibleFrom, ownFrom, historyRepeats, ownRepeats }) =>
      Array.from(positions.entries()).filter(([row, position]) => {
        const inWindow = row % extents.windowLength;
        const [visible = -1, own = -1] = [visibleFrom[row], ownFrom[row]];
        const inOrder = visible >= 0 && visible <= own && own <= inWindow;
        const counted = Math.min(historyRepeats[row] ?? 0, ownRepeats[row] ?? 0) >= 1;
        return !(inOrder && counted && (inWindow === visible || position > (positions[row - 1] ?? Number.NaN)));
      }),
    );
    expect(wrongRows).toEqual([]);
  });

  test('the first lessons have no history and nothing counts more than once', () => {
    const { visibleFrom, ownFrom, historyRepeats, ownRepeats } = windows.batch(extents, false, seededRandom(1));
    expect(visibleFrom).toEqual(ownFrom);
    expect(new Set([...historyRepeats, ...ownRepeats])).toEqual(new Set([1]));
  });
});
