/**
 * One embedded deployment that is killed again and again on the same data directory, with clients who retry as they should. What they were told,
 * over all of its lives, is held against the books.
 */
import { expect } from '@jest/globals';
import { parseAmount } from '../../events/contract/index.js';
import { waitFor } from '../../platform/testing/wait-for.js';
import { expectAcknowledgedInBooks, expectBooksInOrder } from './book-checks.js';
import type { Books } from './books.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from './embedded-deployment.js';
import { createFareboxClient, type FareboxClient, type SignedUp } from './farebox-client.js';
import { type Attempt, attemptOnce, type Load, startLoad } from './load.js';
import { liftLimits, writePreset } from './preset-file.js';
import { makeTemporaryDirectory } from './temporary-directory.js';

/** Sold by the run at 0.001 USD, whatever the engine says. */
const MODEL = 'phi-3.5-mini';
const PRICE_NANOS = 1_000_000n;
const CREDIT = '1000';
const CONSUMER = 'rider@example.com';
/** After any single kill -9 the next paid success comes within this, counted from the start of the new process. */
const NEXT_SUCCESS_MS_MAX = 5_000;
const RETRY_PAUSE_MS = 20;

/** The preset, the deployment and its two projects, over all of its lives. */
export class CrashScene {
  readonly deployment: EmbeddedDeployment;
  /** The project whose requests all carry idempotency keys: it must be charged exactly once for each key. */
  readonly keyed: SignedUp;
  /** The project whose requests carry none. */
  readonly plain: SignedUp;
  readonly #removeFiles: () => Promise<void>;
  readonly #attempts: Attempt[] = [];
  #client: FareboxClient;
  #loads = 0;

  constructor(parts: {
    readonly deployment: EmbeddedDeployment;
    readonly keyed: SignedUp;
    readonly plain: SignedUp;
    readonly removeFiles: () => Promise<void>;
  }) {
    this.deployment = parts.deployment;
    this.keyed = parts.keyed;
    this.plain = parts.plain;
    this.#removeFiles = parts.removeFiles;
    this.#client = connect(parts.deployment);
  }

  /** Of the present life. */
  get client(): FareboxClient {
    return this.#client;
  }

  async start(failpoint?: string): Promise<void> {
    this.#client.close();
    await this.deployment.start(failpoint === undefined ? {} : { failpoint });
    this.#client = connect(this.deployment);
  }

  /** Loads both projects, plain and streamed, consumers too, until the process has died: by its failpoint, or by kill -9 when `dieWhen` says so. */
  async loadUntilDeath(options: { readonly clients: number; readonly dieWhen?: (answered: number) => boolean }): Promise<void> {
    const { deployment } = this;
    const { pid } = deployment;
    const loads = this.#startLoads(options.clients);
    const answered = () => loads.reduce((sum, load) => sum + load.answered(), 0);
    let isKilled = false;
    const died = () => {
      if (!isKilled && options.dieWhen?.(answered()) === true) {
        isKilled = true;
        process.kill(pid, 'SIGKILL');
      }
      return !deployment.isRunning();
    };
    try {
      await waitFor(died, { describe: () => `the process to die; ${answered()} requests were answered` });
    } finally {
      await Promise.all(loads.map((load) => load.stop()));
      this.#attempts.push(...loads.flatMap((load) => load.attempts));
    }
    expect(deployment.exitSignal).toBe('SIGKILL');
    await deployment.exited;
  }

  /** Starts it again and shows that a paid request passes within `NEXT_SUCCESS_MS_MAX`. */
  async recover(): Promise<void> {
    const startedAt = performance.now();
    await this.start();
    const request = { projectKey: this.plain.key, idempotencyKey: null, consumer: null, stream: false, model: MODEL };
    const attempt = await attemptOnce(this.#client, request);
    this.#attempts.push(attempt);
    expect(attempt).toMatchObject({ ending: 'answered' });
    expect(performance.now() - startedAt).toBeLessThan(NEXT_SUCCESS_MS_MAX);
    expect((await this.#client.call('/readyz')).status).toBe(200);
  }

  /** Repeats every keyed request that was not answered until it is, as a client does. */
  async retryUnanswered(): Promise<void> {
    const answered = new Set(this.#attempts.filter(({ ending }) => ending === 'answered').map(({ idempotencyKey }) => idempotencyKey));
    const open = this.#attempts.filter(({ idempotencyKey }) => idempotencyKey !== null && !answered.has(idempotencyKey));
    const byKey = new Map(open.map((attempt) => [attempt.idempotencyKey, attempt]));
    for (const attempt of byKey.values()) this.#attempts.push(await retryUntilAnswered(this.#client, attempt));
  }

  /** All that must hold after every crash. */
  async expectNothingLost(): Promise<void> {
    for (const { key } of [this.keyed, this.plain]) {
      expect((await this.#client.balance(key)).held).toBe('0');
      const { data } = (await this.#client.call('/v1/consumers', { key })).body;
      for (const consumer of data) expect(consumer.held).toBe('0');
    }
    const books = await this.deployment.openBooks();
    try {
      await expectAcknowledgedInBooks(books, this.#attempts);
      await expectBooksInOrder(books);
      await this.#expectEachChargedOnce(books);
    } finally {
      await books.close();
    }
  }

  async close(): Promise<void> {
    this.#client.close();
    await this.deployment.dispose();
    await this.#removeFiles();
  }

  async #expectEachChargedOnce(books: Books): Promise<void> {
    const keys = new Set(this.#attempts.map(({ idempotencyKey }) => idempotencyKey).filter((key) => key !== null));
    expect(await books.chargedNanos(this.keyed.projectId)).toBe(PRICE_NANOS * BigInt(keys.size));
    // Without a key, what nobody was told of may or may not have been charged, at most once each.
    const unkeyed = this.#attempts.filter(({ idempotencyKey }) => idempotencyKey === null);
    const charged = await books.chargedNanos(this.plain.projectId);
    const broken = unkeyed.filter(({ ending }) => ending === 'broken');
    const told = unkeyed.reduce((sum, attempt) => sum + (parseAmount(attempt.charged ?? '0') ?? 0n), 0n);
    expect(charged >= told && charged <= told + PRICE_NANOS * BigInt(broken.length)).toBe(true);
  }

  #startLoads(clients: number): readonly Load[] {
    this.#loads += 1;
    const half = {
      client: this.#client,
      clients: Math.ceil(clients / 2),
      model: MODEL,
      consumerOf: (index: number) => (index % 2 === 0 ? null : CONSUMER),
    };
    return [
      startLoad({ ...half, projectKey: this.keyed.key, keyPrefix: `load-${this.#loads}` }),
      startLoad({ ...half, projectKey: this.plain.key, keyPrefix: null }),
    ];
  }
}

/** A scene in its first life, running. */
export async function createCrashScene(): Promise<CrashScene> {
  const files = await makeTemporaryDirectory();
  const preset = writePreset(files.path, 'farebox', (offer) => {
    liftLimits(offer);
    offer.starter_credit = { project: CREDIT, consumer: CREDIT };
  });
  const deployment = await createEmbeddedDeployment({ preset });
  await deployment.start();
  const client = connect(deployment);
  const [keyed, plain] = [await client.signUp('Keyed'), await client.signUp('Plain')];
  client.close();
  return new CrashScene({ deployment, keyed, plain, removeFiles: files.remove });
}

function connect({ baseUrl, adminKey }: EmbeddedDeployment): FareboxClient {
  return createFareboxClient({ baseUrl, adminKey, model: MODEL });
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
