/** A map that forgets its least recently used entry beyond a bound, for caches and per-key state that must not grow with the clients. */

/** How many of the oldest entries are asked for one that may go. */
const EVICTION_CANDIDATES_MAX = 16;

export class LruMap<Key, Value> {
  readonly #entries = new Map<Key, Value>();
  readonly #entriesMax: number;
  readonly #mayEvict: (value: Value) => boolean;

  /** `mayEvict` keeps entries that are in use; when all candidates are, the map exceeds its bound until they are not. */
  constructor(entriesMax: number, mayEvict: (value: Value) => boolean = () => true) {
    this.#entriesMax = entriesMax;
    this.#mayEvict = mayEvict;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: Key): Value | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }

  set(key: Key, value: Value): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size > this.#entriesMax) this.#evictOne();
  }

  delete(key: Key): void {
    this.#entries.delete(key);
  }

  #evictOne(): void {
    let candidates = 0;
    for (const [key, value] of this.#entries) {
      if (this.#mayEvict(value)) {
        this.#entries.delete(key);
        return;
      }
      candidates += 1;
      if (candidates === EVICTION_CANDIDATES_MAX) return;
    }
  }
}
