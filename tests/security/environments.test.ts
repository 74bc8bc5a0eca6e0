/**
 * Test keys on every route: what they run is the echo engine's, what they spend is test credit, and no live account hears of it. Live keys beside
 * them run the real thing. The routes come from the OpenAPI document, so one that is added is asked too.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Books } from '../support/books.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient, type SignedUp } from '../support/farebox-client.js';
import { type OpenApiRoute, openApiRoutes, pathWith } from '../support/openapi-routes.js';

const ECHO = 'fp_echo';
const CONSUMER: readonly (readonly [string, string])[] = [['X-Consumer-Email', 'somebody@example.com']];

/** Requests that run, by operation; transcriptions take a form and so run nothing here. */
const RUNNING_BODIES: Readonly<Record<string, unknown>> = {
  createChatCompletion: { model: 'farebox-tiny', messages: [{ role: 'user', content: 'Hello' }], max_tokens: 5 },
  createCompletion: { model: 'farebox-tiny', prompt: 'Hello', max_tokens: 5 },
  createEmbeddings: { model: 'farebox-tiny', input: 'Hello' },
};

let deployment: EmbeddedDeployment;
let client: FareboxClient;
let books: Books;
let routes: readonly OpenApiRoute[];
let live: SignedUp;
let sandbox: SignedUp;
beforeAll(async () => {
  deployment = await createEmbeddedDeployment({ environment: { FAREBOX_ENGINE: 'tiny' } });
  await deployment.start();
  client = createFareboxClient(deployment);
  books = await deployment.openBooks();
  routes = (await openApiRoutes(client)).filter(({ policy }) => policy === 'project_key');
  [live, sandbox] = [await client.signUp('Live'), await client.signUp('Sandbox', 'test')];
}, 120_000);
afterAll(async () => {
  await books?.close();
  client?.close();
  await deployment?.dispose();
}, 120_000);

/** How many events each account of the environment has. */
async function eventsByAccount(environment: 'live' | 'test'): Promise<Record<string, number>> {
  const { rows } = await books.pool.query<{ account: string; events: number }>(
    `select data->>'accountId' as account, count(*)::int as events from event_store.events
     where data->>'accountId' in
       (select data->>'accountId' from event_store.events where type = 'AccountOpened' and data->>'environment' = $1)
     group by 1`,
    [environment],
  );
  return Object.fromEntries(rows.map(({ account, events }) => [account, events]));
}

async function callEverything(key: string): Promise<Map<string, number>> {
  const statuses = new Map<string, number>();
  const headerSets = [[], CONSUMER];
  for (const route of routes.filter(({ method }) => method !== 'DELETE')) {
    for (const headers of headerSets) {
      const json = RUNNING_BODIES[route.operationId] ?? (route.hasBody ? {} : undefined);
      const { status } = await client.call(pathWith(route, 'nothing'), {
        method: route.method,
        key,
        headers,
        ...(json === undefined ? {} : { json }),
      });
      statuses.set(route.operationId, status);
    }
  }
  return statuses;
}

describe('environments', () => {
  test('a test key leaves every live account as it was, whatever route it calls', async () => {
    const before = await eventsByAccount('live');
    const testBefore = await eventsByAccount('test');
    const statuses = await callEverything(sandbox.key);
    for (const operationId of Object.keys(RUNNING_BODIES)) expect([operationId, statuses.get(operationId)]).toEqual([operationId, 200]);
    expect([...statuses].filter(([, status]) => status >= 500)).toEqual([]);
    expect(Object.keys(before).length).toBeGreaterThan(0);
    expect(await eventsByAccount('live')).toEqual(before);
    // The project's account and the consumer's, which was opened in the project's environment.
    const testAfter = await eventsByAccount('test');
    expect(Object.keys(testAfter)).toHaveLength(Object.keys(testBefore).length + 1);
  });

  test('a live key leaves every test account as it was', async () => {
    const before = await eventsByAccount('test');
    const statuses = await callEverything(live.key);
    expect(statuses.get('createChatCompletion')).toBe(200);
    expect(await eventsByAccount('test')).toEqual(before);
  });

  test('test keys get the echo engine, live keys what the operator runs', async () => {
    const [test, real] = [await client.chat(sandbox.key), await client.chat(live.key, { max_tokens: 5 })];
    expect([test.body.system_fingerprint, test.body.choices[0].message.content]).toEqual([ECHO, expect.stringContaining('Hello!')]);
    expect(real.body.system_fingerprint).toMatch(/^fp_.*tiny/);
  });

  test('a project has keys of its own environment alone', async () => {
    for (const [{ key }, other] of [
      [live, 'test'],
      [sandbox, 'live'],
    ] as const) {
      expect((await client.call('/v1/keys', { key, json: { environment: other } })).status).toBe(400);
    }
    expect((await client.call('/v1/keys', { key: sandbox.key, json: {} })).body.key).toMatch(/^fb_test_/);
    expect((await client.call('/v1/keys', { key: live.key, json: {} })).body.key).toMatch(/^fb_live_/);
  });

  test('a rotated key stays in its environment', async () => {
    const made = await client.call('/v1/keys', { key: sandbox.key, json: {} });
    const rotated = await client.call(`/v1/keys/${made.body.id}/rotate`, { key: sandbox.key, json: {} });
    expect([rotated.status, rotated.body.environment]).toEqual([201, 'test']);
    expect((await client.chat(rotated.body.key)).body.system_fingerprint).toBe(ECHO);
  });
});
