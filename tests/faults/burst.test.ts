/** Two hundred calls at once on credit for fifty: exactly fifty run, whoever pays, also somebody who did not exist a moment before. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { expectBooksInOrder } from '../support/book-checks.js';
import type { Books } from '../support/books.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import type { Answer } from '../support/http-client.js';
import { liftLimits, writePreset } from '../support/preset-file.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';

/** 0.02 a run, within the included tokens whatever the model says: the starter credit of 1 is fifty runs. */
const MODEL = 'hunt-llama-3.1-8b';
const CALLS = 200;
const AFFORDABLE = 50;

let files: TemporaryDirectory;
let deployment: EmbeddedDeployment;
let client: FareboxClient;
let books: Books;
beforeAll(async () => {
  files = await makeTemporaryDirectory();
  const preset = writePreset(files.path, 'hunt', (offer) => {
    liftLimits(offer);
    offer.starter_credit = { project: '1.00', consumer: '1.00' };
    offer.errors.insufficient_credit.status = 402;
  });
  deployment = await createEmbeddedDeployment({ preset });
  await deployment.start();
  client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: MODEL });
  books = await deployment.openBooks();
}, 120_000);
afterAll(async () => {
  client?.close();
  await books?.close();
  await deployment?.dispose();
  await files?.remove();
}, 120_000);

function statusesOf(answers: readonly Answer[]): Record<number, number> {
  const counts: Record<number, number> = {};
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

describe.each([
  ['plain', {}],
  ['streamed', { stream: true }],
])('200 %s calls at once on credit for 50', (kind, body) => {
  test('a project: exactly 50 run, 150 get 402', async () => {
    const { key } = await client.signUp(`Burst ${kind}`);
    const answers = await Promise.all(Array.from({ length: CALLS }, () => client.chat(key, body)));
    expect(statusesOf(answers)).toEqual({ 200: AFFORDABLE, 402: CALLS - AFFORDABLE });
    expect(await client.balance(key)).toMatchObject({ available: '0', held: '0' });
  });

  test('a consumer that did not exist a moment before: exactly 50 run, 150 get 402, the project pays nothing', async () => {
    const { key } = await client.signUp(`Burst consumer ${kind}`);
    const answers = await Promise.all(
      Array.from({ length: CALLS }, () => client.chat(key, body, [['X-Consumer-Email', 'brand-new@example.com']])),
    );
    expect(statusesOf(answers)).toEqual({ 200: AFFORDABLE, 402: CALLS - AFFORDABLE });
    const { data } = (await client.call('/v1/consumers', { key })).body;
    expect(data).toHaveLength(1);
    expect(data[0]).toMatchObject({ balance: '0', held: '0' });
    expect(await client.balance(key)).toMatchObject({ available: '1', held: '0' });
  });
});

test('a top-up in the middle of a burst is spent once', async () => {
  const { key, projectId } = await client.signUp('Burst and top-up');
  const calls = Array.from({ length: CALLS }, () => client.chat(key));
  const granted = client.grant({ project_id: projectId }, '0.40');
  const first = await Promise.all(calls);
  expect((await granted).status).toBe(201);
  const second = await Promise.all(Array.from({ length: AFFORDABLE }, () => client.chat(key)));
  const admitted = [...first, ...second].filter(({ status }) => status === 200);
  expect(admitted).toHaveLength(AFFORDABLE + 20);
  expect(await client.balance(key)).toMatchObject({ available: '0', held: '0' });
});

test('after all bursts the books are in order', async () => {
  await expectBooksInOrder(books);
});
