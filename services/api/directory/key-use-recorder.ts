/** Notes when keys were used, at most once a minute each and in batches: thousands of requests a second become one update a second. */

/** A key's use is written again only after this long; its expiry counts in days. */
export const KEY_USE_INTERVAL_MS = 60_000;

/** How long uses are collected before they are written together. */
const FLUSH_DELAY_MS = 1_000;

/** Keys waiting to be written. Beyond it a use is not noted; the next one of the same key will be. */
export const PENDING_USES_MAX = 10_000;

export type KeyUse = { readonly keyId: string; readonly usedAtMs: number };

export class KeyUseRecorder {
  readonly #write: (uses: readonly KeyUse[]) => Promise<void>;
  readonly #onError: (error: unknown) => void;
  #pending = new Map<string, number>();
  #timer: NodeJS.Timeout | null = null;
  #writing: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(write: (uses: readonly KeyUse[]) => Promise<void>, onError: (error: unknown) => void) {
    this.#write = write;
    this.#onError = onError;
  }

  note(keyId: string, usedAtMs: number): void {
    if (this.#isClosed || (this.#pending.size >= PENDING_USES_MAX && !this.#pending.has(keyId))) return;
    this.#pending.set(keyId, usedAtMs);
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.flush();
    }, FLUSH_DELAY_MS);
    this.#timer.unref();
  }

  /** Writes what is pending. A failure is reported and dropped: the next use of the key notes it again. */
  flush(): Promise<void> {
    const uses = [...this.#pending].map(([keyId, usedAtMs]) => ({ keyId, usedAtMs }));
    this.#pending = new Map();
    if (uses.length > 0) this.#writing = this.#writing.then(() => this.#write(uses)).catch(this.#onError);
    return this.#writing;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    await this.flush();
  }
}
