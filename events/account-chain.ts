/**
 * The hash chain of an account: every event's hash covers the event and the hash before it, so that nothing in an account's history can be
 * changed, left out or put in without every later hash being another. The ledger writes it into the event's metadata; whoever has the
 * events can work it out again.
 *
 *     chain(n) = SHA-256( chain(n - 1) ‖ "\n" ‖ canonical JSON of {data, id, type, version} ), in hex
 *
 * Metadata is not covered: it names the command and the time, and holds the chain itself. Events from before the chain have no hash; it
 * begins with the first that has one, on sixty-four zeros.
 */
import { hash } from 'node:crypto';
import { canonicalJson } from '../platform/canonical-json.js';
import { accountIdOfStream, type JsonObject, type RecordedEvent } from './contract/index.js';

/** What the first hash of a chain is built on. */
export const CHAIN_START = '0'.repeat(64);

/** The part of an event that its hash covers. */
export type ChainedFacts = { readonly id: string; readonly type: string; readonly version: number; readonly data: JsonObject };

/** The hash after `event`, when `before` is the one of the event in front of it; `null` where that has none. */
export function chainAfter(before: string | null, { data, id, type, version }: ChainedFacts): string {
  return hash('sha256', `${before ?? CHAIN_START}\n${canonicalJson({ data, id, type, version })}`, 'hex');
}

/** An event whose hash is not the one that its history gives. */
export type BrokenLink = {
  readonly accountId: string;
  readonly revision: number;
  readonly eventId: string;
  readonly type: string;
  /** `null`: the event has none, although the chain had begun before it. */
  readonly stored: string | null;
  readonly computed: string;
};

/**
 * Follows the chains of any number of accounts, event by event. What is stored is what the next hash is held against, so that a changed event
 * is named itself and the ones behind it are not.
 */
export class ChainWalk {
  /** The last event's hash of each account whose chain has begun; `null` where that event has none. */
  readonly #chains = new Map<string, string | null>();
  /** Events that have a hash. */
  linked = 0;

  get accounts(): number {
    return this.#chains.size;
  }

  /** The broken link that `event` is, or `null`. Events of other streams are passed over. */
  step(event: RecordedEvent): BrokenLink | null {
    const accountId = accountIdOfStream(event.stream);
    if (accountId === null) return null;
    const stored = event.metadata.chain ?? null;
    const before = this.#chains.get(accountId);
    if (stored === null && before === undefined) return null;
    this.#chains.set(accountId, stored);
    if (stored !== null) this.linked += 1;
    const computed = chainAfter(before ?? null, event);
    if (stored === computed) return null;
    return { accountId, revision: event.revision, eventId: event.id, type: event.type, stored, computed };
  }
}
