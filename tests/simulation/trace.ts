/**
 * What happened in a history, step by step. Only a hash is kept while histories pass; a failing seed is run again with the lines kept, and the
 * equal hash shows that it is the same history.
 */

/** Lines kept of one history; the end of a longer one is what explains a failure. */
const TRACE_LINES_MAX = 20_000;

export class Trace {
  readonly #lines: string[] | null;
  #hash = 0x811c9dc5;
  #startsMs: number | null = null;

  constructor(keepsLines: boolean) {
    this.#lines = keepsLines ? [] : null;
  }

  /** A task of `actor` is about to run. */
  step(actor: string, label: string, nowMs: number): void {
    this.#startsMs ??= nowMs;
    this.#mix(actor);
    this.#mix(label);
    this.#mixNumber(nowMs - this.#startsMs);
    this.#keep(() => `${String(nowMs - (this.#startsMs ?? nowMs)).padStart(7)} ms  ${actor.padEnd(12)} ${label}`);
  }

  /** Something worth telling that a step led to; `fact` is part of the hash. */
  note(fact: string): void {
    this.#mix(fact);
    this.#keep(() => `${' '.repeat(12)}· ${fact}`);
  }

  /** FNV-1a over everything told so far. */
  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0');
  }

  get lines(): readonly string[] {
    return this.#lines ?? [];
  }

  #keep(line: () => string): void {
    if (this.#lines === null) return;
    this.#lines.push(line());
    if (this.#lines.length > 2 * TRACE_LINES_MAX) this.#lines.splice(0, TRACE_LINES_MAX);
  }

  #mix(text: string): void {
    let hash = this.#hash;
    for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
    this.#hash = hash;
  }

  #mixNumber(value: number): void {
    this.#hash = Math.imul(this.#hash ^ value, 0x01000193);
  }
}
