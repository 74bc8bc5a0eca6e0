/**
 * The disk runs full under load, also fuller than Postgres can bear. Requests are refused as unavailable, nothing that was acknowledged is lost,
 * and the service goes on by itself once there is room. Needs root, to mount a small tmpfs; says so where it cannot run.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { waitFor } from '../../platform/testing/wait-for.js';
import { expectAcknowledgedInBooks, expectBooksInOrder } from '../support/book-checks.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import { type Load, startLoad } from '../support/load.js';
import { liftLimits, writePreset } from '../support/preset-file.js';
import { mountSmallDisk, type SmallDisk } from '../support/small-disk.js';
import { makeTemporaryDirectory } from '../support/temporary-directory.js';

const MODEL = 'phi-3.5-mini';
const PRICE_NANOS = 1_000_000n;
/** A new cluster with its databases and write-ahead log takes about 60 MB. */
const DISK_MEGABYTES = 160;
const CLIENTS = 10;
const REFUSALS = 30;

const files = await makeTemporaryDirectory();
const mounted = mountSmallDisk(files.path, DISK_MEGABYTES);
if ('unavailable' in mounted) process.stderr.write(`the disk is not filled: ${mounted.unavailable}\n`);
const disk: SmallDisk | null = 'unavailable' in mounted ? null : mounted;
afterAll(async () => {
  disk?.unmount();
  await files.remove();
}, 60_000);

(disk === null ? describe.skip : describe)('a full disk', () => {
  let deployment: EmbeddedDeployment;
  let client: FareboxClient;
  let load: Load;
  let project: { readonly key: string; readonly projectId: string };
  beforeAll(async () => {
    const preset = writePreset(files.path, 'farebox', (offer) => {
      liftLimits(offer);
      offer.starter_credit.project = '1000';
    });
    deployment = await createEmbeddedDeployment({ preset, dataDirectory: `${disk?.path}/d` });
    await deployment.start();
    client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: MODEL });
    project = await client.signUp('Full');
  }, 120_000);
  afterAll(async () => {
    await load?.stop();
    client?.close();
    disk?.free();
    await deployment?.dispose();
  }, 120_000);

  test('refuses with 503, loses nothing, charges nothing for refusals, and goes on when there is room', async () => {
    load = startLoad({ client, projectKey: project.key, clients: CLIENTS, keyPrefix: null, model: MODEL });
    await waitFor(() => load.answered() >= CLIENTS, { describe: 'the load to run' });
    const filling = setInterval(() => disk?.fill(), 20);
    const refused = () => load.attempts.filter(({ ending }) => ending === 'refused');
    try {
      await waitFor(() => refused().length >= REFUSALS, { timeoutMs: 120_000, describe: () => `refusals; ${refused().length} came` });
      expect(deployment.isRunning()).toBe(true);
    } finally {
      clearInterval(filling);
      disk?.free();
    }
    const before = load.answered();
    await waitFor(() => load.answered() >= before + CLIENTS, { timeoutMs: 60_000, describe: 'requests to pass again' });
    await load.stop();

    const { attempts } = load;
    for (const { ending, status } of attempts) if (ending !== 'answered') expect([ending, status]).toEqual(['refused', 503]);
    await waitFor(async () => (await client.balance(project.key)).held === '0', { describe: 'holds to end' });
    const books = await deployment.openBooks();
    try {
      await expectAcknowledgedInBooks(books, attempts);
      await expectBooksInOrder(books);
      expect(await books.chargedNanos(project.projectId)).toBe(PRICE_NANOS * BigInt(load.answered()));
    } finally {
      await books.close();
    }
  }, 240_000);

  test('a restart on the disk that was full keeps every balance', async () => {
    const before = await client.balance(project.key);
    expect(await deployment.stop()).toEqual({ exitCode: 0 });
    await deployment.start();
    client.close();
    client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: MODEL });
    expect(await client.balance(project.key)).toEqual(before);
    expect((await client.chat(project.key)).status).toBe(200);
  });
});
