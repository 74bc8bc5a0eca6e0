/**
 * Two tenants, every route. The routes come from the OpenAPI document: whoever adds one is asked here what its ids are. A foreign id and an unknown
 * one get the same answer, and nothing of one tenant shows up with the other.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { systemClock } from '../../platform/clock.js';
import { randomIdSource } from '../../platform/id-source.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient, type SignedUp } from '../support/farebox-client.js';
import type { Call } from '../support/http-client.js';
import { type OpenApiRoute, openApiRoutes, pathWith } from '../support/openapi-routes.js';
import { liftLimits, writePreset } from '../support/preset-file.js';
import { makeTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.js';
import { waveFile } from '../support/wave-file.js';

/** What belongs to a tenant, by the part of the path that comes before its id. */
type Belongings = Readonly<Record<'keys' | 'consumers' | 'payments' | 'requests', readonly string[]>>;
type Tenant = SignedUp & { readonly email: string; readonly name: string; readonly belongings: Belongings };

const CHECKOUT = { pack_id: 'usd_5' };
/** Of routes that look at the body before the id. */
const BODIES: Readonly<Record<string, unknown>> = { createConsumerCheckout: CHECKOUT };

/** Ids in these paths belong to nobody. */
const SHARED = ['models'];

let files: TemporaryDirectory;
let deployment: EmbeddedDeployment;
let client: FareboxClient;
let routes: readonly OpenApiRoute[];
let alice: Tenant;
let bob: Tenant;
beforeAll(async () => {
  files = await makeTemporaryDirectory();
  deployment = await createEmbeddedDeployment({ preset: writePreset(files.path, 'farebox', liftLimits) });
  await deployment.start();
  client = createFareboxClient(deployment);
  routes = await openApiRoutes(client);
  alice = await tenant('Alice Incorporated', 'customer-of-alice@example.com');
  bob = await tenant('Bob Limited', 'customer-of-bob@example.com');
}, 120_000);
afterAll(async () => {
  client?.close();
  await deployment?.dispose();
  await files?.remove();
}, 120_000);

async function tenant(name: string, email: string): Promise<Tenant> {
  const project = await client.signUp(name);
  const { key } = project;
  const paid = await client.chat(key);
  const byConsumer = await client.chat(key, {}, [
    ['X-Consumer-Email', email],
    ['Idempotency-Key', 'the-same-key-of-both-tenants'],
  ]);
  const extraKey = await client.call('/v1/keys', { key, json: { name: `Second key of ${name}` } });
  const checkout = await client.call('/v1/billing/checkout', { key, json: CHECKOUT });
  const consumers = await client.call('/v1/consumers', { key });
  const requests = [paid, byConsumer].flatMap(({ body }) => [body.id, body.farebox.request_id, body.id.replace('chatcmpl-', 'run_')]);
  return {
    ...project,
    name,
    email,
    belongings: {
      keys: [project.keyId, extraKey.body.id],
      consumers: consumers.body.data.map(({ id }: { id: string }) => id),
      payments: [checkout.body.reference],
      requests,
    },
  };
}

/** A second of sound as a form. */
async function recording(): Promise<Call> {
  const { body } = await client.call('/v1/models', { key: alice.key });
  const form = new FormData();
  form.append('model', body.data.find(({ kind }: { kind: string }) => kind === 'transcription').id);
  form.append('file', new File([new Uint8Array(waveFile(1))], 'tone.wav', { type: 'audio/wav' }));
  const content = new Response(form);
  return { raw: Buffer.from(await content.arrayBuffer()), headers: [['Content-Type', content.headers.get('content-type') ?? '']] };
}

function kindOf(route: OpenApiRoute): string {
  return /^\/v1\/(\w+)\/\{/.exec(route.path)?.[1] ?? route.path;
}

/** An id of the right form that nobody has. */
function unknownIdLike(id: string): string {
  const prefix = /^(?:[a-z]+[_-])+/.exec(id)?.[0] ?? '';
  return prefix + randomIdSource(systemClock).next('key').slice('key_'.length);
}

const isTenantRoute = (route: OpenApiRoute) =>
  route.policy === 'project_key' && route.pathParameters.length > 0 && !SHARED.includes(kindOf(route));
const ask = (route: OpenApiRoute, id: string, key: string) =>
  client.call(pathWith(route, id), { method: route.method, key, ...(route.hasBody ? { json: BODIES[route.operationId] ?? {} } : {}) });

describe('the matrix of two tenants', () => {
  test('every route with an id is known here', () => {
    const kinds = new Set(routes.filter(isTenantRoute).map(kindOf));
    expect([...kinds].sort()).toEqual(Object.keys(alice.belongings).sort());
    expect(routes.filter(({ pathParameters }) => pathParameters.length > 1)).toEqual([]);
  });

  test('a foreign id and an unknown one get the same 404, on every route, in both directions', async () => {
    for (const route of routes.filter(isTenantRoute)) {
      for (const [asker, owner] of [
        [bob, alice],
        [alice, bob],
      ] as const) {
        for (const id of owner.belongings[kindOf(route) as keyof Belongings]) {
          const foreign = await ask(route, id, asker.key);
          const unknown = await ask(route, unknownIdLike(id), asker.key);
          const malformed = await ask(route, 'x', asker.key);
          expect([route.path, foreign.status, foreign.text]).toEqual([route.path, 404, unknown.text]);
          expect([unknown.status, malformed.status, malformed.text]).toEqual([404, 404, unknown.text]);
          expect(Object.keys(foreign.headers).sort()).toEqual(Object.keys(unknown.headers).sort());
        }
      }
    }
  });

  test('the owner finds each of them', async () => {
    for (const route of routes.filter((route) => isTenantRoute(route) && route.method === 'GET')) {
      for (const id of alice.belongings[kindOf(route) as keyof Belongings]) expect((await ask(route, id, alice.key)).status).toBe(200);
    }
  });

  test('what was tried on foreign ids changed nothing: every key still works', async () => {
    for (const { key } of [alice, bob]) {
      const { data } = (await client.call('/v1/keys', { key })).body;
      expect(data.map(({ status }: { status: string }) => status)).toEqual(['active', 'active']);
    }
  });

  test('nothing of the other tenant appears in any list or report', async () => {
    const lists = routes.filter(
      ({ method, policy, pathParameters }) => method === 'GET' && policy === 'project_key' && pathParameters.length === 0,
    );
    expect(lists.length).toBeGreaterThanOrEqual(5);
    for (const route of lists) {
      for (const query of ['', '?limit=100', '?group_by=consumer', '?group_by=model', `?after=${unknownIdLike('con_')}`]) {
        const { text } = await client.call(route.path + query, { key: bob.key });
        for (const secret of tracesOf(alice)) expect([route.path, query, text.includes(secret)]).toEqual([route.path, query, false]);
      }
    }
  });

  test("paging from another tenant's consumer shows only one's own", async () => {
    const [foreign] = alice.belongings.consumers;
    const { body } = await client.call(`/v1/consumers?after=${foreign}`, { key: bob.key });
    for (const consumer of body.data) expect(bob.belongings.consumers).toContain(consumer.id);
  });

  test("paging from another tenant's payment shows only one's own", async () => {
    const [foreign] = alice.belongings.payments;
    const { status, body } = await client.call(`/v1/payments?after=${foreign}`, { key: bob.key });
    expect(status).toBe(200);
    for (const payment of body.data) expect(bob.belongings.payments).toContain(payment.reference);
  });

  test('one name of a purchase in two projects is two checkouts', async () => {
    const json = { ...CHECKOUT, idempotency_key: 'the-same-purchase-of-both-tenants' };
    const [one, other] = await Promise.all([alice, bob].map(({ key }) => client.call('/v1/billing/checkout', { key, json })));
    expect([one?.status, other?.status]).toEqual([201, 201]);
    expect(one?.body.reference).not.toBe(other?.body.reference);
    for (const [{ key }, reference] of [
      [alice, other?.body.reference],
      [bob, one?.body.reference],
    ] as const) {
      expect((await client.call(`/v1/payments/${reference}`, { key })).status).toBe(404);
    }
  });

  test('one idempotency key in two projects is two requests', async () => {
    const answers = await Promise.all(
      [alice, bob].map(({ key, email }) =>
        client.chat(key, {}, [
          ['X-Consumer-Email', email],
          ['Idempotency-Key', 'the-same-key-of-both-tenants'],
        ]),
      ),
    );
    expect(answers.map(({ body }) => body.idempotent_replay)).toEqual([true, true]);
    expect(answers[0]?.body.id).not.toBe(answers[1]?.body.id);
    const same = await client.chat(bob.key, {}, [['Idempotency-Key', 'asked-first-by-alice']]);
    expect((await client.chat(alice.key, {}, [['Idempotency-Key', 'asked-first-by-alice']])).body.idempotent_replay).toBeUndefined();
    expect(same.status).toBe(200);
  });

  test('one e-mail address in two projects is two consumers with two balances', async () => {
    const shared: [string, string][] = [['X-Consumer-Email', 'both@example.com']];
    await client.chat(alice.key, {}, shared);
    const before = (await client.call('/v1/consumers', { key: alice.key })).body.data[0];
    await client.chat(bob.key, {}, shared);
    const ofBob = (await client.call('/v1/consumers', { key: bob.key })).body.data[0];
    expect(ofBob.email).toBe(before.email);
    expect(ofBob.id).not.toBe(before.id);
    expect((await client.call('/v1/consumers', { key: alice.key })).body.data[0]).toEqual(before);
  });
});

function tracesOf({ projectId, email, name, belongings }: Tenant): readonly string[] {
  return [projectId, email, name, ...belongings.keys, ...belongings.consumers, ...belongings.payments, ...belongings.requests];
}

describe('the policy of every route', () => {
  test('each declares one', () => {
    for (const { path, policy } of routes) expect([path, ['public', 'project_key', 'admin'].includes(policy)]).toEqual([path, true]);
  });

  test('without a key, or with one that does not exist: 401 unless the route is public', async () => {
    for (const route of routes.filter(({ policy }) => policy !== 'public')) {
      const options = { method: route.method, ...(route.hasBody ? { json: {} } : {}) };
      const path = pathWith(route, 'x');
      expect([route.path, (await client.call(path, options)).status]).toEqual([route.path, 401]);
      const wrong = await client.call(path, { ...options, key: 'fb_live_does_not_exist' });
      expect([route.path, route.policy === 'admin' ? 403 : 401]).toEqual([route.path, wrong.status]);
    }
  });

  test('admin routes refuse a project’s key, project routes the admin key', async () => {
    for (const route of routes.filter(({ policy }) => policy !== 'public')) {
      const options = { method: route.method, ...(route.hasBody ? { json: {} } : {}) };
      const key = route.policy === 'admin' ? alice.key : deployment.adminKey;
      const { status } = await client.call(pathWith(route, 'x'), { ...options, key });
      expect([route.path, [401, 403].includes(status)]).toEqual([route.path, true]);
    }
  });

  test('each route that may charge leaves an entry in the ledger', async () => {
    const bodies: Record<string, Parameters<typeof client.call>[1]> = {
      createChatCompletion: { json: { model: 'farebox-tiny', messages: [{ role: 'user', content: 'What does this cost?' }] } },
      createCompletion: { json: { model: 'farebox-tiny', prompt: 'What does this cost?', max_tokens: 5 } },
      createEmbeddings: { json: { model: 'farebox-tiny', input: 'What does this cost?' } },
      createTranscription: await recording(),
    };
    const billed = routes.filter(({ isBilled }) => isBilled);
    expect(billed.map(({ operationId }) => operationId).sort()).toEqual(Object.keys(bodies).sort());
    for (const route of billed) {
      const answer = await client.call(route.path, { method: 'POST', key: alice.key, ...bodies[route.operationId] });
      expect([route.operationId, answer.status]).toEqual([route.operationId, 200]);
      const explained = await client.call(`/v1/requests/${answer.headers['x-request-id']}/explain`, { key: alice.key });
      expect(explained.body.steps.map(({ event_type }: { event_type: string }) => event_type)).toEqual([
        'CreditReserved',
        'UsageRecorded',
        'CreditRefunded',
        'ReservationSettled',
      ]);
      expect(Number(explained.body.charge.charged)).toBeGreaterThan(0);
    }
  });

  test('a route that is not billed leaves none', async () => {
    const books = await deployment.openBooks();
    try {
      const events = async () => (await books.pool.query('select count(*)::int as n from event_store.events')).rows[0].n as number;
      const before = await events();
      for (const route of routes.filter(({ isBilled, method }) => !isBilled && method === 'GET')) {
        await client.call(pathWith(route, 'x'), { key: route.policy === 'admin' ? deployment.adminKey : alice.key });
      }
      expect(await events()).toBe(before);
    } finally {
      await books.close();
    }
  });
});
