/**
 * Cuts a stream of text into server-sent events (WHATWG HTML, section 9.2.6 "Interpreting an event stream"), with a bound on what one event
 * may take. Ids and retry times are passed over: nothing here reconnects.
 */

/** Characters of one line, and of one event's payload: a whole long answer in one chunk fits, an endless line does not. */
export const EVENT_CHARACTERS_MAX = 1_048_576;

export type SseEvent = {
  /** `message` unless the stream names another. */
  readonly name: string;
  readonly payload: string;
};

/** The stream is no event stream that we are willing to read on. */
export class SseError extends Error {
  override readonly name = 'SseError';
}

export class SseParser {
  /** The beginning of a line whose end has not come. */
  #line = '';
  /** `null`: no `data` field in this event so far. */
  #payload: string | null = null;
  #name = '';
  /** The last character was a carriage return: a line feed right after it ends no second line. */
  #afterCarriageReturn = false;
  #atStart = true;

  /** The events that this text completes. Throws `SseError` for what is longer than `EVENT_CHARACTERS_MAX`. */
  push(text: string): readonly SseEvent[] {
    const events: SseEvent[] = [];
    let from = this.#skipStart(text);
    // Searched for once, so that the usual stream, which has none, is not scanned to its end for every line.
    const hasCarriageReturns = text.includes('\r', from);
    while (from < text.length) {
      const end = lineEnd(text, from, hasCarriageReturns);
      if (end < 0) break;
      const line = this.#line + text.slice(from, end);
      this.#line = '';
      from = this.#skipLineEnd(text, end);
      const event = this.#takeLine(line);
      if (event !== null) events.push(event);
    }
    if (from < text.length) this.#line += text.slice(from);
    requireBounded(this.#line.length);
    return events;
  }

  #skipStart(text: string): number {
    if (text === '') return 0;
    if (this.#atStart) {
      this.#atStart = false;
      return text.startsWith('\uFEFF') ? 1 : 0;
    }
    const skipsLineFeed = this.#afterCarriageReturn && text.startsWith('\n');
    this.#afterCarriageReturn = false;
    return skipsLineFeed ? 1 : 0;
  }

  #skipLineEnd(text: string, end: number): number {
    if (text[end] === '\n') return end + 1;
    if (end + 1 === text.length) this.#afterCarriageReturn = true;
    return text[end + 1] === '\n' ? end + 2 : end + 1;
  }

  /** The event that this line ends, if it does. */
  #takeLine(line: string): SseEvent | null {
    requireBounded(line.length);
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'data') {
      this.#payload = this.#payload === null ? value : `${this.#payload}\n${value}`;
      requireBounded(this.#payload.length);
    } else if (field === 'event') this.#name = value;
    return null;
  }

  #dispatch(): SseEvent | null {
    const event = this.#payload === null ? null : { name: this.#name === '' ? 'message' : this.#name, payload: this.#payload };
    this.#payload = null;
    this.#name = '';
    return event;
  }
}

function lineEnd(text: string, from: number, hasCarriageReturns: boolean): number {
  const lineFeed = text.indexOf('\n', from);
  if (!hasCarriageReturns) return lineFeed;
  const carriageReturn = text.indexOf('\r', from);
  if (lineFeed < 0 || carriageReturn < 0) return Math.max(lineFeed, carriageReturn);
  return Math.min(lineFeed, carriageReturn);
}

function requireBounded(characters: number): void {
  if (characters > EVENT_CHARACTERS_MAX) throw new SseError(`an event of more than ${EVENT_CHARACTERS_MAX} characters`);
}
