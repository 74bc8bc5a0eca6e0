/** Walks every account's hash chain through the log, and names each event whose hash is not what its history gives. */
import { type BrokenLink, ChainWalk } from '../../../events/account-chain.js';
import { BEFORE_EVERYTHING } from '../../../events/contract/index.js';
import type { EventStore } from '../../../events/store/event-store.js';

/** As in a rebuild: larger pages cost more per event. */
const CHAIN_PAGE_EVENTS = 2_000;

export type ChainVerification = {
  /** Accounts whose chain has begun. */
  readonly accounts: number;
  /** Events that have a hash. */
  readonly linked: number;
  /** At most `brokenMax`. */
  readonly broken: readonly BrokenLink[];
  readonly brokenCount: number;
};

/** Reads the log as far as it reaches now. */
export async function verifyChains(store: EventStore, brokenMax: number): Promise<ChainVerification> {
  const walk = new ChainWalk();
  const broken: BrokenLink[] = [];
  let brokenCount = 0;
  const end = await store.head();
  let position = BEFORE_EVERYTHING;
  while (position < end) {
    const page = await store.readAll(position, CHAIN_PAGE_EVENTS);
    if (page.length === 0) break;
    for (const event of page) {
      const link = walk.step(event);
      if (link === null) continue;
      brokenCount += 1;
      if (broken.length < brokenMax) broken.push(link);
    }
    position = page.at(-1)?.position ?? end;
  }
  return { accounts: walk.accounts, linked: walk.linked, broken, brokenCount };
}

/** For people. */
export function brokenLinkInWords({ accountId, revision, eventId, type, stored, computed }: BrokenLink): string {
  const place = `event ${revision} of account ${accountId} (${type} ${eventId})`;
  if (stored === null) return `${place} has no hash, although the events before it have one: it was put in, or its hash taken away`;
  return `${place} is not what was written, or what stood before it is not: its history gives the hash ${computed}, it carries ${stored}`;
}
