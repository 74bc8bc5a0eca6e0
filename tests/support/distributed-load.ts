/** Keyed clients at work on a distributed deployment, and what must hold for them afterwards. */
import { expect } from '@jest/globals';
import { waitFor } from '../../platform/testing/wait-for.js';
import { expectAcknowledgedInBooks, expectBooksInOrder } from './book-checks.js';
import type { DistributedDeployment } from './distributed-deployment.js';
import { createFareboxClient, type FareboxClient } from './farebox-client.js';
import { type Load, startLoad } from './load.js';

/** Sold by the run, so that every run costs the same. */
export const LOAD_MODEL = 'phi-3.5-mini';
const CLIENTS = 8;
/** Group sessions that end, partitions that move, on cores that are shared. */
export const RECOVERY_MS_MAX = 90_000;
/** Answers that show that the service goes on. */
const ANSWERS_AFTER = 50;

export type DistributedLoad = {
  readonly load: Load;
  readonly client: FareboxClient;
  /** Resolves when so many more requests were answered. */
  answersMore(count?: number): Promise<void>;
  /** Ends the load; then every hold ends, the books are in order, and what was acknowledged is in them. */
  expectNothingLost(): Promise<void>;
  dispose(): Promise<void>;
};

let loads = 0;

/** Resolves when it runs: every client has been answered once, on average. */
export async function distributedLoad(deployment: DistributedDeployment): Promise<DistributedLoad> {
  loads += 1;
  const name = `load-${process.pid}-${loads}`;
  const client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: LOAD_MODEL });
  const signedUp = await waitFor(() => client.signUp(name).catch(() => null), { timeoutMs: RECOVERY_MS_MAX, describe: 'a project' });
  const load = startLoad({ client, projectKey: signedUp.key, clients: CLIENTS, keyPrefix: name, model: LOAD_MODEL });
  const answersMore = async (count = ANSWERS_AFTER) => {
    const before = load.answered();
    await waitFor(() => load.answered() >= before + count, { timeoutMs: RECOVERY_MS_MAX, describe: () => `${count} more answers` });
  };
  return {
    load,
    client,
    answersMore,
    async expectNothingLost() {
      await load.stop();
      const books = await deployment.openBooks();
      try {
        const noHoldIsOpen = async () => (await books.openHolds()).length === 0;
        await waitFor(noHoldIsOpen, { timeoutMs: RECOVERY_MS_MAX, describe: 'every hold to end' });
        await expectBooksInOrder(books);
        await expectAcknowledgedInBooks(books, load.attempts);
        // Nobody is charged for an answer that did not come: keyed requests may have been, and are answered when they are asked again.
        for (const { ending, status } of load.attempts) if (ending === 'refused') expect([409, 503]).toContain(status);
      } finally {
        await books.close();
      }
    },
    async dispose() {
      await load.stop();
      client.close();
    },
  };
}
