/** Time as a port, so that tests and simulations can hand in their own. */

export interface Clock {
  /** Unix milliseconds. */
  nowMs(): number;
}

export const systemClock: Clock = { nowMs: () => Date.now() };
