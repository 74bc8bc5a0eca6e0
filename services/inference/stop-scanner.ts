/** Finds stop sequences in text that comes in pieces, and holds back what may yet turn out to be the start of one. */
export class StopScanner {
  readonly #stops: readonly string[];
  #held = '';
  #stopped = false;

  /** Empty strings stop nothing and are passed over. */
  constructor(stops: readonly string[]) {
    this.#stops = stops.some((stop) => stop === '') ? stops.filter((stop) => stop !== '') : stops;
  }

  /** Whether a stop sequence has been met; later text is not wanted. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Takes the next piece (whole characters) and returns the text that is now certain to lie before any stop sequence; may be empty. */
  push(piece: string): string {
    if (this.#stops.length === 0) return piece;
    if (this.#stopped) return '';
    const text = this.#held + piece;
    const stopAt = firstStop(text, this.#stops)?.at ?? -1;
    if (stopAt >= 0) {
      this.#stopped = true;
      this.#held = '';
      return text.slice(0, stopAt);
    }
    const certain = text.length - longestStartOfStop(text, this.#stops);
    this.#held = text.slice(certain);
    return text.slice(0, certain);
  }

  /** Generation has ended: what was held back was no stop sequence after all. */
  flush(): string {
    const text = this.#held;
    this.#held = '';
    return text;
  }
}

/** The stop sequence that begins first in `text` (the shorter one of two at the same place), or `null`. Empty ones are passed over. */
export function firstStop(text: string, stops: readonly string[]): { readonly at: number; readonly end: number } | null {
  let first: { at: number; end: number } | null = null;
  for (const stop of stops) {
    if (stop === '') continue;
    const at = text.indexOf(stop);
    if (at < 0) continue;
    const end = at + stop.length;
    if (first === null || at < first.at || (at === first.at && end < first.end)) first = { at, end };
  }
  return first;
}

/** Length of the longest end of `text` with which some stop sequence begins. */
function longestStartOfStop(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(text.length, stop.length - 1); length > longest; length -= 1) {
      if (text.endsWith(stop.slice(0, length))) longest = length;
    }
  }
  return longest;
}
