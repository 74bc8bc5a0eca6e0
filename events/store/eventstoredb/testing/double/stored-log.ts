/**
 * The double's log: streams, revisions, positions and the rules of an append, as EventStoreDB has them. What is appended is on disk before
 * it is answered, so that a killed double keeps what it acknowledged.
 */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export type ProposedEvent = {
  readonly id: string;
  readonly type: string;
  readonly contentType: string;
  readonly body: Buffer;
  readonly customMetadata: Buffer;
};

export type StoredEvent = ProposedEvent & {
  readonly stream: string;
  readonly revision: number;
  readonly createdMs: number;
  /** Shared by the events of one append, as the log has it that ends a transaction with a commit record. */
  readonly commit: number;
  readonly prepare: number;
};

export type Expected = 'any' | 'no_stream' | 'stream_exists' | number;

export type AppendOutcome =
  | { readonly status: 'written'; readonly last: StoredEvent }
  /** Found by their ids. Real servers differ in what position they give here, so this one gives none. */
  | { readonly status: 'idempotent'; readonly revision: number }
  | { readonly status: 'wrong_revision'; readonly actual: number | null }
  | { readonly status: 'too_large' }
  | { readonly status: 'stream_deleted' };

type Stream = { readonly events: StoredEvent[]; isTombstoned: boolean };

/** The default of the server's `MaxAppendSize`, bytes. */
export const APPEND_SIZE_MAX_BYTES = 1_048_576;
/** Bytes of a record beside its payload; only makes positions as uneven as real ones. */
const RECORD_HEADER_BYTES = 97;

export class StoredLog {
  readonly events: StoredEvent[] = [];
  readonly #streams = new Map<string, Stream>();
  readonly #listeners = new Set<() => void>();
  #nextPosition = 0;
  #file: number | null = null;

  /** Without a folder the log lives in memory. */
  constructor(folder: string | null) {
    if (folder === null) return;
    mkdirSync(folder, { recursive: true });
    const path = join(folder, 'log.jsonl');
    if (existsSync(path)) for (const line of readFileSync(path, 'utf8').split('\n')) this.#replay(line);
    this.#file = openSync(path, 'a');
  }

  append(stream: string, expected: Expected, events: readonly ProposedEvent[]): AppendOutcome {
    const existing = this.#streams.get(stream);
    if (existing?.isTombstoned === true) return { status: 'stream_deleted' };
    const size = events.reduce((sum, event) => sum + event.body.length + event.customMetadata.length + event.type.length * 2, 0);
    if (size > APPEND_SIZE_MAX_BYTES) return { status: 'too_large' };
    const standing = existing === undefined ? -1 : existing.events.length - 1;
    const verdict = judge(existing, standing, expected, events);
    if (verdict !== null) return verdict;
    return { status: 'written', last: this.#write(stream, events) };
  }

  /** Hides what the stream holds; it can be appended to again, and its revisions go on. */
  delete(stream: string, expected: Expected, isForever: boolean): AppendOutcome {
    const existing = this.#streams.get(stream);
    const standing = existing === undefined ? -1 : existing.events.length - 1;
    if (existing?.isTombstoned === true) return { status: 'stream_deleted' };
    if (existing === undefined || (typeof expected === 'number' && expected !== standing) || expected === 'no_stream') {
      return { status: 'wrong_revision', actual: existing === undefined ? null : standing };
    }
    if (isForever) return { status: 'written', last: this.#write(stream, [systemEvent('$streamDeleted', {})]) };
    return { status: 'written', last: this.#write(`$$${stream}`, [systemEvent('$metadata', { $tb: standing + 1 })]) };
  }

  /** Events that a reader of the stream may see, or `null` where there is no such stream. */
  readable(stream: string): readonly StoredEvent[] | null {
    const found = this.#streams.get(stream);
    if (found === undefined || found.isTombstoned) return null;
    const metadata = this.#metadataOf(stream);
    const byCount = metadata.maxCount === null ? 0 : found.events.length - metadata.maxCount;
    const first = Math.max(byCount, metadata.truncateBefore, 0);
    const visible = found.events.slice(first);
    return visible.length === 0 && metadata.truncateBefore > 0 ? null : visible;
  }

  isTombstoned(stream: string): boolean {
    return this.#streams.get(stream)?.isTombstoned === true;
  }

  /** Called after every append until the returned function is. */
  onAppended(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }

  #metadataOf(stream: string): { readonly maxCount: number | null; readonly truncateBefore: number } {
    const latest = this.#streams.get(`$$${stream}`)?.events.at(-1);
    const settings = latest === undefined ? {} : (JSON.parse(latest.body.toString('utf8')) as { $maxCount?: number; $tb?: number });
    return { maxCount: settings.$maxCount ?? null, truncateBefore: settings.$tb ?? 0 };
  }

  #write(stream: string, events: readonly ProposedEvent[]): StoredEvent {
    const createdMs = Date.now();
    if (this.#file !== null) writeSync(this.#file, `${JSON.stringify([stream, createdMs, events.map(toLine)])}\n`);
    const last = this.#place(stream, createdMs, events);
    for (const listener of this.#listeners) listener();
    return last;
  }

  #place(name: string, createdMs: number, events: readonly ProposedEvent[]): StoredEvent {
    const stream = this.#streams.get(name) ?? { events: [], isTombstoned: false };
    this.#streams.set(name, stream);
    const places: number[] = [];
    for (const event of events) {
      places.push(this.#nextPosition);
      this.#nextPosition += RECORD_HEADER_BYTES + event.body.length + event.customMetadata.length;
    }
    const commit = places.at(-1) ?? 0;
    for (const [index, event] of events.entries()) {
      const stored = { ...event, stream: name, revision: stream.events.length, createdMs, commit, prepare: places[index] ?? commit };
      stream.events.push(stored);
      this.events.push(stored);
      if (event.type === '$streamDeleted') stream.isTombstoned = true;
    }
    const last = stream.events.at(-1);
    if (last === undefined) throw new RangeError('append without events');
    return last;
  }

  /** A last line that was cut off by a kill was never acknowledged. */
  #replay(line: string): void {
    if (!line.endsWith(']')) return;
    let parsed: [string, number, ReturnType<typeof toLine>[]];
    try {
      parsed = JSON.parse(line) as typeof parsed;
    } catch {
      return;
    }
    const [stream, createdMs, events] = parsed;
    this.#place(stream, createdMs, events.map(fromLine));
  }
}

/** `null`: the events may be written. */
function judge(stream: Stream | undefined, standing: number, expected: Expected, events: readonly ProposedEvent[]): AppendOutcome | null {
  const isFoundAt = (first: number) => events.every((event, index) => stream?.events[first + index]?.id === event.id);
  const found = (first: number): AppendOutcome => ({ status: 'idempotent', revision: first + events.length - 1 });
  if (expected === 'any' || expected === 'stream_exists') {
    const first = stream?.events.findIndex((event) => event.id === events[0]?.id) ?? -1;
    if (first >= 0 && isFoundAt(first)) return found(first);
    return expected === 'stream_exists' && stream === undefined ? { status: 'wrong_revision', actual: null } : null;
  }
  const wanted = expected === 'no_stream' ? -1 : expected;
  if (wanted === standing) return null;
  if (wanted < standing && isFoundAt(wanted + 1)) return found(wanted + 1);
  return { status: 'wrong_revision', actual: standing < 0 ? null : standing };
}

function systemEvent(type: string, content: object): ProposedEvent {
  const body = Buffer.from(JSON.stringify(content));
  return { id: crypto.randomUUID(), type, contentType: 'application/json', body, customMetadata: Buffer.alloc(0) };
}

function toLine({ id, type, contentType, body, customMetadata }: ProposedEvent) {
  return { id, type, contentType, body: body.toString('base64'), customMetadata: customMetadata.toString('base64') };
}

function fromLine(line: ReturnType<typeof toLine>): ProposedEvent {
  return { ...line, body: Buffer.from(line.body, 'base64'), customMetadata: Buffer.from(line.customMetadata, 'base64') };
}
