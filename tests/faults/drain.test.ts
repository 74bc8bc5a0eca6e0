/** SIGTERM under load: what was let in is answered whole, what comes later is refused, and nobody pays for an answer that did not arrive. */
import { afterEach, describe, expect, test } from '@jest/globals';
import { waitFor } from '../../platform/testing/wait-for.js';
import { expectAcknowledgedInBooks, expectBooksInOrder } from '../support/book-checks.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import { type Attempt, type Load, startLoad } from '../support/load.js';
import { liftLimits, writePreset } from '../support/preset-file.js';
import { opened, rawRequest } from '../support/raw-request.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';

const MODEL = 'phi-3.5-mini';
const PRICE_NANOS = 1_000_000n;
const SLOW_CLIENTS = 20;
const CLIENTS = 10;
/** Ten seconds for requests under way, and a few to close the books on a busy machine. */
const STOP_MS_MAX = 18_000;
const CLEAN_EXIT = { exitCode: 0 };

let files: TemporaryDirectory;
let deployment: EmbeddedDeployment;
let client: FareboxClient;
let load: Load | null = null;
async function begin(): Promise<{ readonly key: string; readonly projectId: string }> {
  files = await makeTemporaryDirectory();
  deployment = await createEmbeddedDeployment({ preset: writePreset(files.path, 'farebox', liftLimits) });
  await deployment.start();
  client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: MODEL });
  const project = await client.signUp('Drained');
  await client.grant({ project_id: project.projectId }, '100');
  return project;
}
afterEach(async () => {
  await load?.stop();
  load = null;
  client?.close();
  await deployment?.dispose();
  await files?.remove();
}, 120_000);

/** The books of a stopped deployment, looked at in its next life. */
async function expectCharged(projectId: string, runs: number, attempts: readonly Attempt[]): Promise<void> {
  await deployment.start();
  const books = await deployment.openBooks();
  try {
    await expectAcknowledgedInBooks(books, attempts);
    await expectBooksInOrder(books);
    expect(await books.chargedNanos(projectId)).toBe(PRICE_NANOS * BigInt(runs));
  } finally {
    await books.close();
  }
}

describe('SIGTERM', () => {
  test('requests that were let in before it are answered whole, also those whose body is still coming', async () => {
    const { key, projectId } = await begin();
    const slow = await Promise.all(Array.from({ length: SLOW_CLIENTS }, (_, index) => halfSent(key, index % 2 === 0)));
    load = startLoad({ client, projectKey: key, clients: CLIENTS, keyPrefix: null, model: MODEL });
    const { answered } = load;
    await waitFor(() => answered() >= CLIENTS, { describe: 'the load to run' });
    const stopped = deployment.stop();
    await waitFor(() => deployment.printed.includes('draining'), { describe: 'the drain to begin' });
    const answers = await Promise.all(slow.map((request) => request.finish()));
    for (const answer of answers)
      expect(answer).toMatch(/^HTTP\/1\.1 100 Continue\s+HTTP\/1\.1 200 OK[\s\S]*"finish_reason":"(stop|length)"/);
    expect(answers.filter((answer) => answer.includes('data: [DONE]'))).toHaveLength(SLOW_CLIENTS / 2);
    expect(await stopped).toEqual(CLEAN_EXIT);
    await load.stop();
    // An answer that had begun was not cut: a broken attempt never saw a status.
    expect(load.attempts.filter(({ ending, status }) => ending === 'broken' && status !== null)).toEqual([]);
    for (const { status } of load.attempts.filter(({ ending }) => ending === 'refused')) expect(status).toBe(503);
    await expectCharged(projectId, SLOW_CLIENTS + answered(), load.attempts);
  });

  test('a client that never finishes its request holds the end up no longer than the drain allows', async () => {
    const { key } = await begin();
    const { socket } = await halfSent(key, false);
    const startedAt = performance.now();
    expect(await deployment.stop()).toEqual(CLEAN_EXIT);
    expect(performance.now() - startedAt).toBeLessThan(STOP_MS_MAX);
    socket.destroy();
  });
});

/** A request whose head and half its body have been sent, and which was let in. */
async function halfSent(key: string, stream: boolean) {
  const json = { model: MODEL, messages: [{ role: 'user', content: 'Hello, I am slow. '.repeat(20) }], stream };
  // The server says "100 Continue" when it has let the request in.
  const headers = [['Expect', '100-continue']] as const;
  const request = rawRequest(deployment.baseUrl, { path: '/v1/chat/completions', key, json, headers });
  const { socket, closed } = await opened(request);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  const cut = request.bytes.length - 100;
  socket.write(request.bytes.subarray(0, cut));
  await waitFor(() => Buffer.concat(chunks).includes('100 Continue'), { describe: 'the request to be let in' });
  return {
    socket,
    finish: async () => {
      socket.write(request.bytes.subarray(cut));
      await closed;
      return Buffer.concat(chunks).toString('utf8');
    },
  };
}
