/**
 * The directory in Postgres. Limits are decided under a row lock, look-ups of keys go by digest and are cached for under a second. The pool
 * brings the statement timeout.
 */
import { timingSafeEqual } from 'node:crypto';
import type { ClientBase, Pool } from 'pg';
import { inTransaction } from '../../../platform/postgres/transactions.js';
import { LruMap } from '../limits/lru-map.js';
import { isSecretShaped, secretDigest } from './api-key-secret.js';
import type { ApiKey, Consumer, Directory, KeyLookup, KeyRotation, KeyRotationResult, NewApiKey, Project } from './directory.js';
import {
  CONSUMER_COLUMNS,
  type ConsumerRow,
  consumerFromRow,
  KEY_COLUMNS,
  type KeyRow,
  keyFromRow,
  PROJECT_COLUMNS,
  type ProjectRow,
  projectFromRow,
} from './directory-rows.js';
import { normalisedEmail } from './email.js';
import { KeyCache } from './key-cache.js';
import { KEY_USE_INTERVAL_MS, type KeyUse, KeyUseRecorder } from './key-use-recorder.js';
import { rotateKey } from './rotate-key.js';

const DAY_MS = 86_400_000;

/** Keys listed for one project: those not revoked first, so that a long history never hides a key that works. */
export const LISTED_KEYS_MAX = 200;

/** A known consumer is looked up again after this long, so that another process's change of name or erasure is seen. */
export const CONSUMER_CACHE_TTL_MS = 5_000;
export const CONSUMER_CACHE_ENTRIES_MAX = 10_000;

export type PostgresDirectoryOptions = {
  readonly pool: Pool;
  /** From the preset: a key unused for longer does not open anything and does not count as active. */
  readonly unusedExpiryDays: number;
  /** Told when a batch of uses could not be written. */
  readonly onError?: (error: unknown) => void;
  /** Milliseconds of a clock that never goes back, for the caches. */
  readonly monotonicNowMs?: () => number;
};

type KnownKey = {
  readonly digest: Buffer;
  readonly key: ApiKey;
  readonly active: KeyLookup;
  /** When a use was last written or handed to the recorder. */
  usedAtMs: number | null;
};

type CachedConsumer = { readonly consumer: Consumer; readonly expiresAtMs: number };

const UNKNOWN: KeyLookup = { status: 'unknown' };
const REVOKED: KeyLookup = { status: 'revoked' };
const EXPIRED: KeyLookup = { status: 'expired' };

export class PostgresDirectory implements Directory {
  readonly #pool: Pool;
  readonly #unusedExpiryMs: number;
  readonly #monotonicNowMs: () => number;
  readonly #keys: KeyCache<KnownKey>;
  readonly #consumers = new LruMap<string, CachedConsumer>(CONSUMER_CACHE_ENTRIES_MAX);
  readonly #uses: KeyUseRecorder;

  constructor(options: PostgresDirectoryOptions) {
    this.#pool = options.pool;
    this.#unusedExpiryMs = options.unusedExpiryDays * DAY_MS;
    this.#monotonicNowMs = options.monotonicNowMs ?? (() => performance.now());
    this.#keys = new KeyCache(this.#monotonicNowMs);
    this.#uses = new KeyUseRecorder((uses) => this.#writeUses(uses), options.onError ?? (() => undefined));
  }

  async createProject(project: Project): Promise<Project | null> {
    const result = await this.#pool.query(
      `insert into api.projects (project_id, name, slug, environment, created_at, plan) values ($1, $2, $3, $4, $5, $6)
       on conflict on constraint projects_slug_unique do nothing`,
      [project.projectId, project.name, project.slug, project.environment, new Date(project.createdAtMs), project.plan ?? null],
    );
    return result.rowCount === 1 ? project : null;
  }

  async project(projectId: string): Promise<Project | null> {
    const { rows } = await this.#pool.query<ProjectRow>(`select ${PROJECT_COLUMNS} from api.projects p where p.project_id = $1`, [
      projectId,
    ]);
    return rows[0] === undefined ? null : projectFromRow(rows[0]);
  }

  async setPlan(projectId: string, plan: string | null): Promise<Project | null> {
    const { rows } = await this.#pool.query<ProjectRow>(
      `update api.projects as p set plan = $2 where p.project_id = $1 returning ${PROJECT_COLUMNS}`,
      [projectId, plan],
    );
    return rows[0] === undefined ? null : projectFromRow(rows[0]);
  }

  createKey(key: NewApiKey, secret: string, activeMax: number): Promise<ApiKey | null> {
    return this.#underProjectLock(key.projectId, async (client) => {
      const inserted = await client.query<KeyRow>(
        `insert into api.keys as k (key_id, project_id, name, environment, hint, secret_sha256, created_at, role)
         select $1, $2, $3, $4, $5, $6, $7, $10
         where (select count(*) from api.keys a
                where a.project_id = $2 and a.revoked_at is null and a.retires_at is null
                  and coalesce(a.last_used_at, a.created_at) > $8) < $9
         returning ${KEY_COLUMNS}`,
        [
          key.keyId,
          key.projectId,
          key.name,
          key.environment,
          key.hint,
          secretDigest(secret),
          new Date(key.createdAtMs),
          new Date(key.createdAtMs - this.#unusedExpiryMs),
          activeMax,
          key.role ?? 'owner',
        ],
      );
      return inserted.rows[0] === undefined ? null : keyFromRow(inserted.rows[0]);
    });
  }

  async rotateKey(rotation: KeyRotation): Promise<KeyRotationResult> {
    const result = await this.#underProjectLock(rotation.projectId, (client) => rotateKey(client, rotation, this.#unusedExpiryMs));
    if (result.status !== 'rotated') return result;
    this.#keys.forget(result.replaced.secret_sha256.toString('base64'));
    return { status: 'rotated', key: keyFromRow(result.key), replaced: keyFromRow(result.replaced) };
  }

  async listKeys(projectId: string): Promise<ApiKey[]> {
    const { rows } = await this.#pool.query<KeyRow>(
      `select ${KEY_COLUMNS} from api.keys k where k.project_id = $1 order by k.revoked_at is not null, k.key_id desc limit $2`,
      [projectId, LISTED_KEYS_MAX],
    );
    return rows.map(keyFromRow);
  }

  async revokeKey(projectId: string, keyId: string, nowMs: number): Promise<ApiKey | null> {
    const { rows } = await this.#pool.query<KeyRow>(
      `update api.keys as k set revoked_at = coalesce(k.revoked_at, $3)
       where k.project_id = $1 and k.key_id = $2 returning ${KEY_COLUMNS}`,
      [projectId, keyId, new Date(nowMs)],
    );
    const row = rows[0];
    if (row === undefined) return null;
    this.#keys.forget(row.secret_sha256.toString('base64'));
    return keyFromRow(row);
  }

  async authenticate(secret: string, nowMs: number): Promise<KeyLookup> {
    if (!isSecretShaped(secret)) return UNKNOWN;
    const digest = secretDigest(secret);
    const known = await this.#keys.get(digest.toString('base64'), () => this.#findKey(digest));
    // The row was found by its digest; comparing again in constant time guards against a cache or an index that answers for another key.
    if (known === null || !timingSafeEqual(known.digest, digest)) return UNKNOWN;
    if (known.key.revokedAtMs !== null || (known.key.retiresAtMs !== null && nowMs >= known.key.retiresAtMs)) return REVOKED;
    const lastSeenMs = known.usedAtMs ?? known.key.createdAtMs;
    if (nowMs - lastSeenMs >= this.#unusedExpiryMs) return EXPIRED;
    if (known.usedAtMs === null || nowMs - known.usedAtMs >= KEY_USE_INTERVAL_MS) {
      known.usedAtMs = nowMs;
      this.#uses.note(known.key.keyId, nowMs);
    }
    return known.active;
  }

  async findOrCreateConsumer(request: Parameters<Directory['findOrCreateConsumer']>[0]): Promise<Consumer> {
    const email = normalisedEmail(request.email);
    const cacheKey = `${request.projectId}\n${email}`;
    const cached = this.#consumers.get(cacheKey);
    const isFresh = cached !== undefined && this.#monotonicNowMs() < cached.expiresAtMs;
    if (isFresh && (request.name === null || request.name === cached.consumer.name)) return cached.consumer;
    const startedAtMs = this.#monotonicNowMs();
    const consumer = (await this.#findConsumer(request, email)) ?? (await this.#createConsumer(request, email));
    this.#consumers.set(cacheKey, { consumer, expiresAtMs: startedAtMs + CONSUMER_CACHE_TTL_MS });
    return consumer;
  }

  async consumer(projectId: string, consumerId: string): Promise<Consumer | null> {
    const { rows } = await this.#pool.query<ConsumerRow>(
      `select ${CONSUMER_COLUMNS} from api.consumers c where c.project_id = $1 and c.consumer_id = $2`,
      [projectId, consumerId],
    );
    return rows[0] === undefined ? null : consumerFromRow(rows[0]);
  }

  async consumerById(consumerId: string): Promise<Consumer | null> {
    const { rows } = await this.#pool.query<ConsumerRow>(`select ${CONSUMER_COLUMNS} from api.consumers c where c.consumer_id = $1`, [
      consumerId,
    ]);
    return rows[0] === undefined ? null : consumerFromRow(rows[0]);
  }

  async listConsumers(projectId: string, page: { readonly limit: number; readonly after: string | null }): Promise<Consumer[]> {
    // Ids sort by the time they were made, so they are both the order and the key of the page.
    const { rows } = await this.#pool.query<ConsumerRow>(
      `select ${CONSUMER_COLUMNS} from api.consumers c
       where c.project_id = $1 and ($2::text is null or c.consumer_id < $2) order by c.consumer_id desc limit $3`,
      [projectId, page.after, page.limit],
    );
    return rows.map(consumerFromRow);
  }

  /** Writes the uses of keys that are still pending. The pool is its owner's to end. */
  async close(): Promise<void> {
    await this.#uses.close();
  }

  /** Keys of one project are counted and changed one after the other. */
  #underProjectLock<Result>(projectId: string, change: (client: ClientBase) => Promise<Result>): Promise<Result> {
    return inTransaction(this.#pool, async (client) => {
      // Its own statement: what follows must see what was committed while this one waited for the lock.
      const locked = await client.query('select 1 from api.projects where project_id = $1 for update', [projectId]);
      if (locked.rowCount !== 1) throw new RangeError(`project ${projectId} does not exist`);
      return change(client);
    });
  }

  async #findKey(digest: Buffer): Promise<KnownKey | null> {
    const { rows } = await this.#pool.query<KeyRow & ProjectRow>({
      name: 'api-find-key',
      text: `select ${KEY_COLUMNS}, ${PROJECT_COLUMNS} from api.keys k join api.projects p on p.project_id = k.project_id
             where k.secret_sha256 = $1`,
      values: [digest],
    });
    const row = rows[0];
    if (row === undefined) return null;
    const key = keyFromRow(row);
    return { digest: row.secret_sha256, key, active: { status: 'active', key, project: projectFromRow(row) }, usedAtMs: key.lastUsedAtMs };
  }

  /** Reads first: the usual case is a known consumer, and an upsert would write a row version for each of its requests. */
  async #findConsumer(request: Parameters<Directory['findOrCreateConsumer']>[0], email: string): Promise<Consumer | null> {
    const { rows } = await this.#pool.query<ConsumerRow>({
      name: 'api-find-consumer',
      text: `select ${CONSUMER_COLUMNS} from api.consumers c where c.project_id = $1 and c.email_normalised = $2`,
      values: [request.projectId, email],
    });
    const row = rows[0];
    if (row === undefined) return null;
    const isNameCurrent = request.name === null || request.name === row.name;
    return isNameCurrent ? consumerFromRow(row) : this.#createConsumer(request, email);
  }

  async #createConsumer(request: Parameters<Directory['findOrCreateConsumer']>[0], email: string): Promise<Consumer> {
    const { rows } = await this.#pool.query<ConsumerRow>(
      `insert into api.consumers as c (consumer_id, project_id, email, email_normalised, name, created_at) values ($1, $2, $3, $4, $5, $6)
       on conflict on constraint consumers_email_unique do update set name = coalesce(excluded.name, c.name)
       returning ${CONSUMER_COLUMNS}`,
      [request.consumerId, request.projectId, request.email, email, request.name, new Date(request.nowMs)],
    );
    const row = rows[0];
    if (row === undefined) throw new Error('an upsert returns its row');
    return consumerFromRow(row);
  }

  async #writeUses(uses: readonly KeyUse[]): Promise<void> {
    // Several API processes note the same key; whoever comes within the interval of another's note writes nothing.
    await this.#pool.query(
      `update api.keys k set last_used_at = used.at
       from unnest($1::text[], $2::timestamptz[]) as used (key_id, at)
       where k.key_id = used.key_id and (k.last_used_at is null or k.last_used_at <= used.at - make_interval(secs => $3::float8))`,
      [uses.map((use) => use.keyId), uses.map((use) => new Date(use.usedAtMs)), KEY_USE_INTERVAL_MS / 1_000],
    );
  }
}
