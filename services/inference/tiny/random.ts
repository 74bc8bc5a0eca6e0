/**
 * Seeded randomness for corpus and training. Integer arithmetic only, so the sequence is the same on every machine
 * and the model file can be rebuilt byte for byte.
 */

export interface Random {
  /** Uniform in [0, 1). */
  fraction(): number;
  /** Uniform integer in [0, bound). */
  below(bound: number): number;
  /** Uniform choice; the list must not be empty. */
  pick<T>(choices: readonly T[]): T;
  chance(probability: number): boolean;
  /** Approximately standard normal: a sum of uniforms needs no logarithm, whose last bit may differ between platforms. */
  normal(): number;
}

/** Mulberry32 (Tommy Ettinger, public domain): 32 bits of state, ample for shuffling templates. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const fraction = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const below = (bound: number): number => Math.floor(fraction() * bound);
  return {
    fraction,
    below,
    pick: (choices) => {
      const chosen = choices[below(choices.length)];
      if (chosen === undefined) throw new Error('picked from an empty list');
      return chosen;
    },
    chance: (probability) => fraction() < probability,
    normal: () => {
      let sum = -6;
      for (let draw = 0; draw < 12; draw++) sum += fraction();
      return sum;
    },
  };
}
