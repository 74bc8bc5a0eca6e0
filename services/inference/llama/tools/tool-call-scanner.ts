/**
 * Tells text and tool calls apart while they are generated, and hands out calls piece by piece. It may rely on the notation: the grammar has held
 * the answer to it.
 *
 *     text ──marker──▶ before ──begin, open──▶ name ──middle──▶ arguments ──last brace──▶ after ──separator, open──▶ name …
 */
import type { ToolCallDelta } from '../../../../events/contract/index.js';
import type { ToolSyntax } from './tool-syntax.js';

export type Scanned = { readonly text: string; readonly deltas: readonly ToolCallDelta[] };

type Stage = 'text' | 'before' | 'name' | 'arguments' | 'after';

export class ToolCallScanner {
  readonly #syntax: ToolSyntax;
  readonly #makeCallId: () => string;
  #stage: Stage;
  /** Generated and not yet understood. */
  #held = '';
  #hasText = false;
  #calls = 0;
  #depth = 0;
  #inString = false;
  #isEscaped = false;

  constructor(options: { readonly syntax: ToolSyntax; readonly mayBeText: boolean; readonly makeCallId: () => string }) {
    this.#syntax = options.syntax;
    this.#makeCallId = options.makeCallId;
    this.#stage = options.mayBeText ? 'text' : 'before';
  }

  /** Whether a call has begun; text is over then. */
  get hasCalls(): boolean {
    return this.#calls > 0;
  }

  /** Whether the answer has left its text, though the first call's name may not be known yet. */
  get isInCalls(): boolean {
    return this.#stage !== 'text';
  }

  push(piece: string): Scanned {
    if (this.#stage === 'text' && this.#syntax.marker === null && this.#hasText) return { text: piece, deltas: [] };
    this.#held += piece;
    let text = '';
    const deltas: ToolCallDelta[] = [];
    for (let goesOn = true; goesOn; ) {
      const [held, stage] = [this.#held, this.#stage];
      if (stage === 'text') text += this.#scanText();
      else this.#scanCall(deltas);
      goesOn = this.#held !== held || this.#stage !== stage;
    }
    return { text, deltas };
  }

  /** Generation has ended: what was held back was no beginning of a call after all. */
  flush(): string {
    return this.#stage === 'text' ? this.#take(this.#held.length) : '';
  }

  #scanText(): string {
    const { marker, begin, open } = this.#syntax;
    const sought = marker ?? begin + open;
    const at = marker === null && !this.#held.startsWith(sought) ? -1 : this.#held.indexOf(sought);
    if (at >= 0) {
      // Blank lines before the first call are layout.
      const text = this.#take(at);
      this.#stage = 'before';
      return this.#hasText || text.trim() !== '' ? text : '';
    }
    const certain =
      marker === null ? (sought.startsWith(this.#held) ? 0 : this.#held.length) : this.#held.length - startHeld(this.#held, sought);
    if (!this.#hasText && this.#held.slice(0, certain).trim() === '') return '';
    this.#hasText = true;
    return this.#take(certain);
  }

  #scanCall(deltas: ToolCallDelta[]): void {
    const { begin, open, middle, close, separator } = this.#syntax;
    switch (this.#stage) {
      case 'before':
        if (this.#skip(begin + open)) this.#stage = 'name';
        return;
      case 'name': {
        const at = this.#held.indexOf(middle);
        if (at < 0) return;
        const name = JSON.parse(`"${this.#take(at)}"`) as string;
        this.#skip(middle);
        deltas.push({ call: this.#calls, id: this.#makeCallId(), name, argumentsText: '' });
        this.#calls += 1;
        this.#stage = 'arguments';
        return;
      }
      case 'arguments': {
        const argumentsText = this.#take(this.#argumentsLength());
        if (argumentsText !== '') deltas.push({ call: this.#calls - 1, argumentsText });
        return;
      }
      case 'after':
        if (this.#skip(close + separator + open)) this.#stage = 'name';
        return;
      case 'text':
        return;
    }
  }

  /** How much of what is held belongs to the arguments; with their last brace the stage is over. */
  #argumentsLength(): number {
    for (let at = 0; at < this.#held.length; at += 1) {
      const character = this.#held[at];
      if (this.#inString) {
        if (this.#isEscaped) this.#isEscaped = false;
        else if (character === '\\') this.#isEscaped = true;
        else if (character === '"') this.#inString = false;
      } else if (character === '"') this.#inString = true;
      else if (character === '{' || character === '[') this.#depth += 1;
      else if (character === '}' || character === ']') {
        this.#depth -= 1;
        if (this.#depth > 0) continue;
        this.#stage = 'after';
        return at + 1;
      }
    }
    return this.#held.length;
  }

  #take(length: number): string {
    const taken = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return taken;
  }

  #skip(expected: string): boolean {
    if (!this.#held.startsWith(expected)) return false;
    this.#held = this.#held.slice(expected.length);
    return true;
  }
}

/** Length of the longest end of `text` with which `sought` begins. */
function startHeld(text: string, sought: string): number {
  for (let length = Math.min(text.length, sought.length - 1); length > 0; length -= 1) {
    if (text.endsWith(sought.slice(0, length))) return length;
  }
  return 0;
}
