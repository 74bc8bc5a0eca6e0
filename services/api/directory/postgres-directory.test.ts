import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { randomIdSource } from '../../../platform/id-source.js';
import { type ApiDatabase, openApiDatabase } from '../testing/api-database.js';
import { makeApiKeySecret } from './api-key-secret.js';
import type { Project } from './directory.js';
import { PostgresDirectory } from './postgres-directory.js';

const NOW_MS = Date.parse('2026-04-27T15:30:00.123Z');
const DAY_MS = 86_400_000;
const UNUSED_EXPIRY_DAYS = 90;
const ids = randomIdSource({ nowMs: () => NOW_MS });

let database: ApiDatabase;
let monotonicMs = 0;
let directory: PostgresDirectory;

function newDirectory(): PostgresDirectory {
  return new PostgresDirectory({ pool: database.pool, unusedExpiryDays: UNUSED_EXPIRY_DAYS, monotonicNowMs: () => monotonicMs });
}

beforeAll(async () => {
  database = await openApiDatabase();
  directory = newDirectory();
});
afterAll(async () => {
  await directory.close();
  await database.close();
});

async function aProject(): Promise<Project> {
  const projectId = ids.next('prj');
  const project = { projectId, name: 'P', slug: projectId.replace('_', '-'), environment: 'live', createdAtMs: NOW_MS } as const;
  const created = await directory.createProject(project);
  if (created === null) throw new Error('a new slug is free');
  return created;
}

async function aKey(project: Project, options: { secret?: string; createdAtMs?: number; activeMax?: number } = {}) {
  const secret = options.secret ?? makeApiKeySecret('fb_live_');
  const key = await directory.createKey(
    {
      keyId: ids.next('key'),
      projectId: project.projectId,
      name: 'K',
      environment: 'live',
      hint: 'fb_live_…',
      createdAtMs: options.createdAtMs ?? NOW_MS,
    },
    secret,
    options.activeMax ?? 5,
  );
  return { key, secret };
}

describe('projects', () => {
  test('come back as they were created, to the millisecond', async () => {
    const project = await aProject();
    expect(await directory.project(project.projectId)).toEqual(project);
    expect(await directory.project(ids.next('prj'))).toBeNull();
  });

  test('of one slug are one: 20 parallel sign-ups, one success', async () => {
    const attempts = Array.from({ length: 20 }, () =>
      directory.createProject({ projectId: ids.next('prj'), name: 'P', slug: 'wanted', environment: 'test', createdAtMs: NOW_MS }),
    );
    expect((await Promise.all(attempts)).filter((project) => project !== null)).toHaveLength(1);
  });
});

describe('the limit of active keys', () => {
  test('holds under concurrency: 20 parallel creations on a limit of 5 make exactly 5', async () => {
    const project = await aProject();
    const created = await Promise.all(Array.from({ length: 20 }, () => aKey(project)));
    expect(created.filter(({ key }) => key !== null)).toHaveLength(5);
    expect(await directory.listKeys(project.projectId)).toHaveLength(5);
  });

  test('counts neither revoked nor expired keys', async () => {
    const project = await aProject();
    await aKey(project, { activeMax: 2, createdAtMs: NOW_MS - UNUSED_EXPIRY_DAYS * DAY_MS });
    const { key } = await aKey(project, { activeMax: 2 });
    expect((await aKey(project, { activeMax: 2 })).key).not.toBeNull();
    expect((await aKey(project, { activeMax: 2 })).key).toBeNull();
    await directory.revokeKey(project.projectId, key?.keyId ?? '', NOW_MS);
    expect((await aKey(project, { activeMax: 2 })).key).not.toBeNull();
  });

  test('lists the keys that work before the revoked ones', async () => {
    const project = await aProject();
    const made = [await aKey(project), await aKey(project), await aKey(project)];
    const revoked = made.map(({ key }) => key?.keyId ?? '').slice(1);
    for (const keyId of revoked) await directory.revokeKey(project.projectId, keyId, NOW_MS);
    const [first, ...rest] = await directory.listKeys(project.projectId);
    expect(first?.keyId).toBe(made[0]?.key?.keyId);
    expect(rest.map((key) => key.keyId).sort()).toEqual(revoked.sort());
  });

  test('is per project', async () => {
    const [one, other] = [await aProject(), await aProject()];
    await aKey(one, { activeMax: 1 });
    expect((await aKey(other, { activeMax: 1 })).key).not.toBeNull();
  });
});

describe('authentication', () => {
  test('finds the key and its project', async () => {
    const project = await aProject();
    const { key, secret } = await aKey(project);
    expect(await directory.authenticate(secret, NOW_MS)).toEqual({ status: 'active', key, project });
  });

  test('does not know a secret that nobody was given, nor what is no secret', async () => {
    expect(await directory.authenticate(makeApiKeySecret('fb_live_'), NOW_MS)).toEqual({ status: 'unknown' });
    expect(await directory.authenticate("' or true --", NOW_MS)).toEqual({ status: 'unknown' });
    expect(await directory.authenticate('', NOW_MS)).toEqual({ status: 'unknown' });
  });

  test('tells twins with equal long prefixes apart, cached or not', async () => {
    const secret = makeApiKeySecret('fb_live_');
    const twin = `${secret.slice(0, -1)}${secret.endsWith('A') ? 'B' : 'A'}`;
    const [one, other] = [await aProject(), await aProject()];
    await aKey(one, { secret });
    expect(await directory.authenticate(secret, NOW_MS)).toMatchObject({ status: 'active' });
    expect(await directory.authenticate(twin, NOW_MS)).toEqual({ status: 'unknown' });
    await aKey(other, { secret: twin });
    const [first, second] = [await directory.authenticate(secret, NOW_MS), await directory.authenticate(twin, NOW_MS)];
    expect(first.status === 'active' && first.project.projectId).toBe(one.projectId);
    expect(second.status === 'active' && second.project.projectId).toBe(other.projectId);
  });

  test('stores no secret in the clear', async () => {
    const { secret } = await aKey(await aProject());
    const { rows } = await database.pool.query('select k::text as everything from api.keys k');
    for (const row of rows) expect(row.everything).not.toContain(secret.slice(-20));
  });

  test('a revoked key stops at once here and within a second elsewhere; revoking twice keeps the first time', async () => {
    const project = await aProject();
    const { key, secret } = await aKey(project);
    const elsewhere = newDirectory();
    await elsewhere.authenticate(secret, NOW_MS);
    await directory.authenticate(secret, NOW_MS);
    expect((await directory.revokeKey(project.projectId, key?.keyId ?? '', NOW_MS))?.revokedAtMs).toBe(NOW_MS);
    expect(await directory.authenticate(secret, NOW_MS)).toEqual({ status: 'revoked' });
    expect(await elsewhere.authenticate(secret, NOW_MS)).toMatchObject({ status: 'active' });
    monotonicMs += 1_000;
    expect(await elsewhere.authenticate(secret, NOW_MS)).toEqual({ status: 'revoked' });
    expect((await directory.revokeKey(project.projectId, key?.keyId ?? '', NOW_MS + 5_000))?.revokedAtMs).toBe(NOW_MS);
    await elsewhere.close();
  });

  test("another project's key cannot be revoked", async () => {
    const { key, secret } = await aKey(await aProject());
    expect(await directory.revokeKey((await aProject()).projectId, key?.keyId ?? '', NOW_MS)).toBeNull();
    expect(await directory.authenticate(secret, NOW_MS)).toMatchObject({ status: 'active' });
  });

  test('a key unused for 90 days expires; a use puts it off', async () => {
    const { secret } = await aKey(await aProject());
    const lastMomentMs = NOW_MS + UNUSED_EXPIRY_DAYS * DAY_MS - 1;
    const user = newDirectory();
    expect(await user.authenticate(secret, lastMomentMs)).toMatchObject({ status: 'active' });
    await user.close();
    expect(await newDirectory().authenticate(secret, lastMomentMs + 2)).toMatchObject({ status: 'active' });

    const { secret: unused } = await aKey(await aProject());
    expect(await newDirectory().authenticate(unused, lastMomentMs + 1)).toEqual({ status: 'expired' });
  });

  test('a use is written at most once a minute, in batches', async () => {
    const project = await aProject();
    const keys = await Promise.all([aKey(project), aKey(project), aKey(project)]);
    const user = newDirectory();
    const lastUses = async () => (await directory.listKeys(project.projectId)).map((key) => key.lastUsedAtMs);
    for (const { secret } of keys) for (let use = 0; use < 20; use += 1) await user.authenticate(secret, NOW_MS + use);
    await user.close();
    expect(await lastUses()).toEqual([NOW_MS, NOW_MS, NOW_MS]);

    const soonAfter = newDirectory();
    for (const { secret } of keys) await soonAfter.authenticate(secret, NOW_MS + 59_999);
    await soonAfter.close();
    expect(await lastUses()).toEqual([NOW_MS, NOW_MS, NOW_MS]);

    const later = newDirectory();
    for (const { secret } of keys) await later.authenticate(secret, NOW_MS + 60_000);
    await later.close();
    expect(await lastUses()).toEqual([NOW_MS + 60_000, NOW_MS + 60_000, NOW_MS + 60_000]);
  });
});

describe('consumers', () => {
  const request = (projectId: string, email: string, name: string | null = null) => ({
    projectId,
    consumerId: ids.next('con'),
    email,
    name,
    nowMs: NOW_MS,
  });

  test('200 parallel first calls end with one consumer', async () => {
    const { projectId } = await aProject();
    const found = await Promise.all(
      Array.from({ length: 200 }, () => directory.findOrCreateConsumer(request(projectId, 'jane@example.com'))),
    );
    expect(new Set(found.map((consumer) => consumer.consumerId)).size).toBe(1);
    expect(await directory.listConsumers(projectId, { limit: 10, after: null })).toHaveLength(1);
  });

  test('are one whatever the case of the address, which is shown as it was first given', async () => {
    const { projectId } = await aProject();
    const first = await directory.findOrCreateConsumer(request(projectId, 'Jane@Example.com'));
    const second = await directory.findOrCreateConsumer(request(projectId, 'jane@EXAMPLE.com'));
    expect(second).toEqual(first);
    expect(second.email).toBe('Jane@Example.com');
  });

  test('of two projects are two, though the address is the same', async () => {
    const [one, other] = [await aProject(), await aProject()];
    const first = await directory.findOrCreateConsumer(request(one.projectId, 'jane@example.com'));
    const second = await directory.findOrCreateConsumer(request(other.projectId, 'jane@example.com'));
    expect(second.consumerId).not.toBe(first.consumerId);
    expect(await directory.consumer(other.projectId, first.consumerId)).toBeNull();
    expect(await directory.consumer(one.projectId, first.consumerId)).toEqual(first);
    expect(await directory.consumerById(first.consumerId)).toEqual(first);
  });

  test('take a new name, and keep the old one when none is given', async () => {
    const { projectId } = await aProject();
    await directory.findOrCreateConsumer(request(projectId, 'jane@example.com', 'Jane'));
    expect((await directory.findOrCreateConsumer(request(projectId, 'jane@example.com'))).name).toBe('Jane');
    expect((await directory.findOrCreateConsumer(request(projectId, 'jane@example.com', 'Jane Doe'))).name).toBe('Jane Doe');
    expect((await directory.findOrCreateConsumer(request(projectId, 'jane@example.com'))).name).toBe('Jane Doe');
  });

  test('page newest first without a gap or a repetition', async () => {
    const { projectId } = await aProject();
    let timeMs = NOW_MS;
    const later = randomIdSource({ nowMs: () => (timeMs += 1) });
    const made: string[] = [];
    for (let index = 0; index < 7; index += 1) {
      const consumer = await directory.findOrCreateConsumer({
        ...request(projectId, `c${index}@example.com`),
        consumerId: later.next('con'),
      });
      made.unshift(consumer.consumerId);
    }
    const seen: string[] = [];
    let after: string | null = null;
    for (;;) {
      const page: string[] = (await directory.listConsumers(projectId, { limit: 3, after })).map((consumer) => consumer.consumerId);
      if (page.length === 0) break;
      seen.push(...page);
      after = page.at(-1) ?? null;
    }
    expect(seen).toEqual(made);
  });
});
