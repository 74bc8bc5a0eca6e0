/**
 * Remembers looked-up keys for less than a second, so that a busy key costs one query a second and a revocation is still seen within one.
 * Keyed by the digest of the whole secret, never by a prefix of it. Concurrent look-ups of one key share a query.
 */
import { LruMap } from '../limits/lru-map.js';

/** Counted from the moment the query was sent, so an entry never outlives a revocation by more than this. */
export const KEY_CACHE_TTL_MS = 900;

/** Keys in use within one second; about 1 KB each. */
export const KEY_CACHE_ENTRIES_MAX = 10_000;

type Entry<Value> = { readonly value: Value; readonly expiresAtMs: number };

export class KeyCache<Value> {
  readonly #entries = new LruMap<string, Entry<Value>>(KEY_CACHE_ENTRIES_MAX);
  readonly #loading = new Map<string, Promise<Value | null>>();
  readonly #monotonicNowMs: () => number;

  constructor(monotonicNowMs: () => number) {
    this.#monotonicNowMs = monotonicNowMs;
  }

  /** The cached value, or what `load` finds. `null` (no such key) is not remembered: a flood of wrong keys must not push out right ones. */
  get(digest: string, load: () => Promise<Value | null>): Promise<Value | null> {
    const entry = this.#entries.get(digest);
    const nowMs = this.#monotonicNowMs();
    if (entry !== undefined && nowMs < entry.expiresAtMs) return Promise.resolve(entry.value);
    const loading = this.#loading.get(digest);
    if (loading !== undefined) return loading;
    const loaded: Promise<Value | null> = load().then(
      (value) => this.#keep(digest, loaded, nowMs, value),
      (error: unknown) => {
        this.#endLoading(digest, loaded);
        throw error;
      },
    );
    this.#loading.set(digest, loaded);
    return loaded;
  }

  /** Called when this process itself changed the key; a look-up under way may have read the old row, so its result is not kept. */
  forget(digest: string): void {
    this.#entries.delete(digest);
    this.#loading.delete(digest);
  }

  #keep(digest: string, loaded: Promise<Value | null>, startedAtMs: number, value: Value | null): Value | null {
    const isStillWanted = this.#endLoading(digest, loaded);
    if (value !== null && isStillWanted) this.#entries.set(digest, { value, expiresAtMs: startedAtMs + KEY_CACHE_TTL_MS });
    return value;
  }

  /** Whether nobody forgot the key while it was being looked up. */
  #endLoading(digest: string, loaded: Promise<Value | null>): boolean {
    if (this.#loading.get(digest) !== loaded) return false;
    this.#loading.delete(digest);
    return true;
  }
}
