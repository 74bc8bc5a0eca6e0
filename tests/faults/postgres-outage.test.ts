/**
 * The database is killed, or stops answering, under load. Requests are refused in bounded time with typed errors, nothing is charged for what
 * failed, and the service comes back by itself.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { waitFor } from '../../platform/testing/wait-for.js';
import { expectAcknowledgedInBooks, expectBooksInOrder } from '../support/book-checks.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient, type SignedUp } from '../support/farebox-client.js';
import { type Attempt, type Load, startLoad } from '../support/load.js';
import { liftLimits, writePreset } from '../support/preset-file.js';
import { signalTree } from '../support/process-tree.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';

const MODEL = 'phi-3.5-mini';
const PRICE_NANOS = 1_000_000n;
const CLIENTS = 20;
/** No client waits longer than this to be refused while the database does not answer. A run under way waits for its settlement instead. */
const REFUSAL_MS_MAX = 20_000;
const AVAILABILITY_CODES = ['provider_unavailable', 'ledger_unavailable', 'engine_at_capacity'];

let files: TemporaryDirectory;
let deployment: EmbeddedDeployment;
let client: FareboxClient;
let project: SignedUp;
let postmasterPid: number;
beforeAll(async () => {
  files = await makeTemporaryDirectory();
  const preset = writePreset(files.path, 'farebox', (offer) => {
    liftLimits(offer);
    offer.starter_credit.project = '1000';
  });
  deployment = await createEmbeddedDeployment({ preset });
  await deployment.start();
  client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: MODEL });
}, 120_000);
afterAll(async () => {
  client?.close();
  await deployment?.dispose();
  await files?.remove();
}, 120_000);

let load: Load;
async function loaded(name: string): Promise<void> {
  project = await client.signUp(name);
  postmasterPid = deployment.postmasterPid ?? 0;
  expect(postmasterPid).toBeGreaterThan(1);
  load = startLoad({ client, projectKey: project.key, clients: CLIENTS, keyPrefix: null, model: MODEL });
  await waitFor(() => load.answered() >= CLIENTS, { describe: 'the load to run' });
}
afterEach(() => load.stop());

/** Every request was either answered, or refused as unavailable in bounded time; then the books are compared with what was told. */
async function expectOutageWasClean(attempts: readonly Attempt[]): Promise<void> {
  for (const { ending, status, body, durationMs } of attempts) {
    if (ending === 'answered') continue;
    expect(durationMs).toBeLessThan(REFUSAL_MS_MAX);
    const refusal = body as { error?: { code?: string; type?: string } };
    expect({ ending, status, type: refusal?.error?.type }).toEqual({ ending: 'refused', status: 503, type: 'service_unavailable_error' });
    expect(AVAILABILITY_CODES).toContain(refusal.error?.code);
  }
  await waitFor(async () => (await client.balance(project.key)).held === '0', { describe: 'holds to end' });
  const books = await deployment.openBooks();
  try {
    await expectAcknowledgedInBooks(books, attempts);
    await expectBooksInOrder(books);
    const answered = attempts.filter(({ ending }) => ending === 'answered');
    expect(await books.chargedNanos(project.projectId)).toBe(PRICE_NANOS * BigInt(answered.length));
  } finally {
    await books.close();
  }
}

describe('Postgres', () => {
  test.each([
    ['with all its processes', () => signalTree(postmasterPid, 'SIGKILL')],
    ['by its postmaster alone', () => process.kill(postmasterPid, 'SIGKILL')],
  ])('killed %s under load: 503 meanwhile, nothing charged for failures, back by itself', async (_how, kill) => {
    await loaded('Killed');
    kill();
    const isBack = () => deployment.postmasterPid !== null && deployment.postmasterPid !== postmasterPid;
    await waitFor(isBack, { describe: 'another postmaster' });
    const before = load.answered();
    await waitFor(() => load.answered() >= before + CLIENTS, { describe: 'requests to pass again' });
    await load.stop();
    await expectOutageWasClean(load.attempts);
  });

  test('stopped (SIGSTOP) under load: 503 within the bound and not ready; passes again when it goes on', async () => {
    await loaded('Stopped');
    signalTree(postmasterPid, 'SIGSTOP');
    try {
      // New ones: who has a run under way waits for its settlement, and that may be every client of the load.
      const askOnce = async () => {
        const startedMs = performance.now();
        const { status } = await client.chat(project.key);
        return { status, isInTime: performance.now() - startedMs < REFUSAL_MS_MAX };
      };
      const asked = await Promise.all(Array.from({ length: CLIENTS }, askOnce));
      expect(asked).toEqual(asked.map(() => ({ status: 503, isInTime: true })));
      expect((await client.call('/readyz')).status).toBe(503);
      expect((await client.call('/healthz')).status).toBe(200);
    } finally {
      signalTree(postmasterPid, 'SIGCONT');
    }
    const before = load.answered();
    await waitFor(() => load.answered() >= before + CLIENTS, { timeoutMs: REFUSAL_MS_MAX, describe: 'requests to pass again' });
    await load.stop();
    await expectOutageWasClean(load.attempts);
    expect((await client.call('/readyz')).status).toBe(200);
  }, 90_000);
});
