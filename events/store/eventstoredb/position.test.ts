/** Positions compare as text in the order of the log, and survive being stored. */
import { describe, expect, test } from '@jest/globals';
import { BEFORE_EVERYTHING } from '../../contract/envelope.js';
import { knownPosition, type LogPosition, partsOf, positionOf } from './position.js';

describe('positions', () => {
  test('text order is log order, by commit and then by prepare position', () => {
    const inOrder: LogPosition[] = [
      { commit: 0n, prepare: 0n },
      { commit: 9n, prepare: 9n },
      { commit: 300n, prepare: 97n },
      { commit: 300n, prepare: 300n },
      { commit: 1_000n, prepare: 301n },
      { commit: 9_223_372_036_854_775_807n, prepare: 9_223_372_036_854_775_807n },
    ];
    const texts = inOrder.map(positionOf);
    expect(texts.toSorted()).toEqual(texts);
    expect(texts.every((text) => text > BEFORE_EVERYTHING)).toBe(true);
    expect(texts.map(partsOf)).toEqual(inOrder);
  });

  test('before everything there is no place', () => {
    expect(partsOf(BEFORE_EVERYTHING)).toBeNull();
  });

  test.each(['nowhere', '5', '00000000000000000005', `${'0'.repeat(20)}-5`, `${'0'.repeat(20)}-0000000001`])(
    '%s is of no store of this kind',
    (text) => {
      expect(() => partsOf(text)).toThrow(RangeError);
    },
  );

  test('what an old server says instead of a position is none', () => {
    const none = 18_446_744_073_709_551_615n;
    expect([knownPosition(undefined), knownPosition({ commit: none, prepare: none })]).toEqual([null, null]);
  });
});
