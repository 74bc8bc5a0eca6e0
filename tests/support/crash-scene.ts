/**
 * One embedded deployment that is killed again and again on the same data directory, with clients who retry as they should. What they were told,
 * over all of its lives, is held against the books.
 */
import { expect } from '@jest/globals';
import { parseAmount } from '../../events/contract/index.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { expectAcknowledgedInBooks, expectBooksInOrder } from './book-checks.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from './embedded-deployment.js';
import { createFareboxClient, type FareboxClient, type SignedUp } from './farebox-client.js';
import { type Attempt, attemptOnce, startLoad } from './load.js';
import { liftLimits, writePreset } from './preset-file.js';
import { makeTemporaryDirectory } from './temporary-directory.js';

/** Sold by the run at 0.001 USD, whatever the engine says. */
const MODEL = 'phi-3.5-mini';
const PRICE_NANOS = 1_000_000n;
const CREDIT = '1000';
export const CONSUMER = 'rider@example.com';
/** After any single kill -9 the next paid success comes within this, counted from the start of the new process. */
export const NEXT_SUCCESS_MS_MAX = 5_000;
const RETRY_PAUSE_MS = 20;

export type CrashScene = {
  readonly deployment: EmbeddedDeployment;
  /** Of the present life. */
  readonly client: FareboxClient;
  /** The project whose requests all carry idempotency keys: it must be charged exactly once for each key. */
  readonly keyed: SignedUp;
  /** The project whose requests carry none. */
  readonly plain: SignedUp;
  start(failpoint?: string): Promise<void>;
  /** Loads both projects, plain and streamed, consumers too, until the process has died. */
  loadUntilDeath(options: { readonly clients: number; readonly dieWhen?: (answered: number) => boolean }): Promise<void>;
  /** Starts it again and shows that a paid request passes within `NEXT_SUCCESS_MS_MAX`. */
  recover(): Promise<void>;
  /** Repeats every keyed request that was not answered until it is, as a client does. `endLeases`: without waiting for the dead one's. */
  retryUnanswered(options: { readonly endLeases: boolean }): Promise<void>;
  /** All that must hold after every crash. */
  expectNothingLost(): Promise<void>;
  close(): Promise<void>;
};

export async function createCrashScene(): Promise<CrashScene> {
  const files = await makeTemporaryDirectory();
  const preset = writePreset(files.path, 'farebox', (offer) => {
    liftLimits(offer);
    offer.starter_credit = { project: CREDIT, consumer: CREDIT };
  });
  const deployment = await createEmbeddedDeployment({ preset });
  await deployment.start();
  const connect = () => createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: MODEL });
  let client = connect();
  const keyed = await client.signUp('Keyed');
  const plain = await client.signUp('Plain');
  const attempts: Attempt[] = [];
  let loads = 0;

  const start = async (failpoint?: string) => {
    client.close();
    await deployment.start(failpoint === undefined ? {} : { failpoint });
    client = connect();
  };

  const scene: CrashScene = {
    deployment,
    get client() {
      return client;
    },
    keyed,
    plain,
    start,
    async loadUntilDeath({ clients, dieWhen }) {
      loads += 1;
      const half = { client, clients: Math.ceil(clients / 2), model: MODEL };
      const consumerOf = (index: number) => (index % 2 === 0 ? null : CONSUMER);
      const both = [
        startLoad({ ...half, projectKey: keyed.key, keyPrefix: `load-${loads}`, consumerOf }),
        startLoad({ ...half, projectKey: plain.key, keyPrefix: null, consumerOf }),
      ];
      const answered = () => both.reduce((sum, load) => sum + load.answered(), 0);
      const { pid } = deployment;
      let isKilled = false;
      const died = () => {
        if (!isKilled && dieWhen?.(answered()) === true) {
          isKilled = true;
          process.kill(pid, 'SIGKILL');
        }
        return !deployment.isRunning();
      };
      try {
        await waitFor(died, { describe: () => `the process to die; ${answered()} requests were answered` });
      } finally {
        await Promise.all(both.map((load) => load.stop()));
        attempts.push(...both.flatMap((load) => load.attempts));
      }
      expect(deployment.exitSignal).toBe('SIGKILL');
      await deployment.exited;
    },
    async recover() {
      const startedAt = performance.now();
      await start();
      const attempt = await attemptOnce(client, {
        projectKey: plain.key,
        idempotencyKey: null,
        consumer: null,
        stream: false,
        model: MODEL,
      });
      attempts.push(attempt);
      expect(attempt).toMatchObject({ ending: 'answered' });
      expect(performance.now() - startedAt).toBeLessThan(NEXT_SUCCESS_MS_MAX);
      expect((await client.call('/readyz')).status).toBe(200);
    },
    async retryUnanswered({ endLeases }) {
      if (endLeases) await endLeasesOfTheDead(deployment);
      const answeredKeys = new Set(attempts.filter(({ ending }) => ending === 'answered').map(({ idempotencyKey }) => idempotencyKey));
      const open = attempts.filter(({ idempotencyKey, ending }) => idempotencyKey !== null && ending !== 'answered');
      for (const attempt of open) {
        if (answeredKeys.has(attempt.idempotencyKey)) continue;
        answeredKeys.add(attempt.idempotencyKey);
        attempts.push(await retryUntilAnswered(client, attempt));
      }
    },
    async expectNothingLost() {
      for (const { key } of [keyed, plain]) {
        expect((await client.balance(key)).held).toBe('0');
        const { data } = (await client.call('/v1/consumers', { key })).body;
        for (const consumer of data) expect(consumer.held).toBe('0');
      }
      const books = await deployment.openBooks();
      try {
        await expectAcknowledgedInBooks(books, attempts);
        await expectBooksInOrder(books);
        const keys = new Set(attempts.map(({ idempotencyKey }) => idempotencyKey).filter((key) => key !== null));
        expect(await books.chargedNanos(keyed.projectId)).toBe(PRICE_NANOS * BigInt(keys.size));
        // Without a key, what nobody was told of may or may not have been charged, at most once each.
        const unkeyed = attempts.filter(({ idempotencyKey }) => idempotencyKey === null);
        const charged = await books.chargedNanos(plain.projectId);
        const answered = unkeyed.filter(({ ending }) => ending === 'answered');
        const broken = unkeyed.filter(({ ending }) => ending === 'broken');
        const told = answered.reduce((sum, attempt) => sum + (parseAmount(attempt.charged ?? '') ?? 0n), 0n);
        expect(charged >= told && charged <= told + PRICE_NANOS * BigInt(broken.length)).toBe(true);
      } finally {
        await books.close();
      }
    },
    async close() {
      client.close();
      await deployment.dispose();
      await files.remove();
    },
  };
  return scene;
}

async function retryUntilAnswered(client: FareboxClient, attempt: Attempt): Promise<Attempt> {
  const request = { ...attempt, model: MODEL };
  const answered = async () => {
    const again = await attemptOnce(client, request);
    if (again.ending === 'answered') return again;
    // In progress under the lease of the process that died; anything else is a fault.
    expect(again).toMatchObject({ ending: 'refused', status: 409 });
    await new Promise((resolve) => setTimeout(resolve, RETRY_PAUSE_MS));
    return null;
  };
  return waitFor(answered, { describe: 'the repeated request to be answered' });
}

/** A dead instance's claims are its own for seconds; the tests of leases wait for that, the others need not. */
async function endLeasesOfTheDead(deployment: EmbeddedDeployment): Promise<void> {
  const books = await deployment.openBooks();
  try {
    await books.pool.query(`update api.idempotency_keys set lease_until = '-infinity' where state = 'running'`);
  } finally {
    await books.close();
  }
}
