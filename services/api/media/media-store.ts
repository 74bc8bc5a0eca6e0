/**
 * Decoded audio of the requests that this API instance has taken, in memory and nowhere else: from just before the hold until the run has ended,
 * or until its time is up.
 */
import type { Clock } from '../../../platform/clock.js';
import { ByteBudget } from './byte-budget.js';

/** Four half hours, or hundreds of voice messages. Beyond that requests are refused before anything is held. */
export const MEDIA_BYTES_MAX = 256 * 1024 * 1024;

/** What outlives this was forgotten by a bug, not needed by a run: deadlines are minutes. */
export const MEDIA_KEPT_MS_MAX = 3_600_000;

type Kept = { readonly samples: Buffer; readonly untilMs: number };

export type StoredMedia = {
  readonly mediaId: string;
  /** Does nothing the second time. */
  remove(): void;
};

export class MediaStore {
  readonly #clock: Clock;
  readonly #budget: ByteBudget;
  readonly #kept = new Map<string, Kept>();

  constructor(options: { readonly clock: Clock; readonly bytesMax?: number }) {
    this.#clock = options.clock;
    this.#budget = new ByteBudget(options.bytesMax ?? MEDIA_BYTES_MAX);
  }

  get bytesHeld(): number {
    return this.#budget.held;
  }

  /** 16 kHz mono, 16-bit little-endian. `null`: no room. */
  put(mediaId: string, samples: Buffer): StoredMedia | null {
    this.#removeExpired();
    if (this.#kept.has(mediaId)) throw new Error(`media ${mediaId} exists`);
    if (!this.#budget.take(samples.length)) return null;
    this.#kept.set(mediaId, { samples, untilMs: this.#clock.nowMs() + MEDIA_KEPT_MS_MAX });
    return { mediaId, remove: () => this.#remove(mediaId) };
  }

  get(mediaId: string): Buffer | null {
    return this.#kept.get(mediaId)?.samples ?? null;
  }

  /** For workers in this process. */
  readonly source = async ({ mediaId }: { readonly mediaId: string }): Promise<Buffer> => {
    const samples = this.get(mediaId);
    if (samples === null) throw new Error(`there is no media ${mediaId}`);
    return samples;
  };

  /** Oldest first, as the map keeps them, so it stops at the first that may stay. */
  #removeExpired(): void {
    const nowMs = this.#clock.nowMs();
    for (const [mediaId, { untilMs }] of this.#kept) {
      if (untilMs > nowMs) return;
      this.#remove(mediaId);
    }
  }

  #remove(mediaId: string): void {
    const kept = this.#kept.get(mediaId);
    if (kept === undefined) return;
    this.#kept.delete(mediaId);
    this.#budget.give(kept.samples.length);
  }
}
