/** Keys at the running service: revoked ones stop within a second, unused ones expire, twins are distinct, no secret is kept. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { waitFor } from '../../platform/testing/wait-for.js';
import type { Books } from '../support/books.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';

/** A look-up is remembered for 0.9 s; the rest is the request's own time on a busy machine. */
const REVOKED_MS_MAX = 1_000;

let deployment: EmbeddedDeployment;
let client: FareboxClient;
let books: Books;
beforeAll(async () => {
  deployment = await createEmbeddedDeployment();
  await deployment.start();
  client = createFareboxClient(deployment);
  books = await deployment.openBooks();
}, 120_000);
afterAll(async () => {
  client?.close();
  await books?.close();
  await deployment?.dispose();
}, 120_000);

type TrialBalance = { environment: string; accounts: { account: string; balance: string }[] };

const uses = (key: string) => client.call('/v1/models', { key });

describe('a key', () => {
  test('is refused as soon as it was revoked, for reads and for runs', async () => {
    const { key } = await client.signUp('Revoker');
    const { body: second } = await client.call('/v1/keys', { key, json: { name: 'to be revoked' } });
    expect((await uses(second.key)).status).toBe(200);
    expect((await client.call(`/v1/keys/${second.id}/revoke`, { key, method: 'POST' })).status).toBe(200);
    expect((await uses(second.key)).status).toBe(403);
    expect((await client.chat(second.key)).body.error.code).toBe('api_key_revoked');
    expect((await uses(key)).status).toBe(200);
  });

  test('that was revoked behind this instance’s back, by another one, is refused within a second', async () => {
    const { key, keyId } = await client.signUp('Revoked elsewhere');
    expect((await uses(key)).status).toBe(200);
    await books.pool.query('update api.keys set revoked_at = now() where key_id = $1', [keyId]);
    const revokedAt = performance.now();
    await waitFor(async () => (await uses(key)).status === 403, { describe: 'the refusal' });
    expect(performance.now() - revokedAt).toBeLessThan(REVOKED_MS_MAX);
  });

  test.each([
    [91, 403],
    [89, 200],
  ])('last used %i days ago: %i', async (days, status) => {
    const { key, keyId } = await client.signUp(`Unused for ${days} days`);
    const past = `now() - interval '${days} days'`;
    await books.pool.query(`update api.keys set created_at = ${past}, last_used_at = ${past} where key_id = $1`, [keyId]);
    const answer = await uses(key);
    expect(answer.status).toBe(status);
    if (status === 403) expect(answer.body.error.code).toBe('api_key_expired');
  });

  test('that differs from a real one only in its last character, or in case, is unknown', async () => {
    const { key } = await client.signUp('Twins');
    const last = key.at(-1) === 'a' ? 'b' : 'a';
    for (const twin of [key.slice(0, -1) + last, `${key}a`, key.slice(0, -1), key.toUpperCase(), ` ${key.slice(0, 20)}`]) {
      expect((await uses(twin)).status).toBe(401);
    }
    expect((await uses(key)).status).toBe(200);
  });

  test('has at least 192 random bits, and only its digest is kept', async () => {
    const { key, keyId } = await client.signUp('Digest');
    const random = key.slice('fb_live_'.length);
    expect(Buffer.from(random, 'base64url').length * 8).toBeGreaterThanOrEqual(192);
    const { rows } = await books.pool.query('select secret_sha256 from api.keys where key_id = $1', [keyId]);
    expect(rows[0].secret_sha256.toString('hex')).toBe(createHash('sha256').update(key).digest('hex'));
    expect(await books.dump(['api'])).not.toContain(random);
  });

  test('of a sandbox neither spends live money nor shows in live books', async () => {
    const { key } = await client.signUp('Sandbox', 'test');
    const revenueOf = async (wanted: string): Promise<string | undefined> => {
      const shown = (await client.call('/v1/admin/trial-balance', { key: deployment.adminKey })).body.books as TrialBalance[];
      const { accounts = [] } = shown.find(({ environment }) => environment === wanted) ?? {};
      return accounts.find(({ account }) => account === 'revenue')?.balance;
    };
    const liveBefore = await revenueOf('live');
    expect((await client.chat(key)).status).toBe(200);
    await waitFor(async () => Number(await revenueOf('test')) > 0, { describe: 'the sandbox run in the books' });
    expect(await revenueOf('live')).toBe(liveBefore);
  });
});
