/** A directory in memory with the rules of the Postgres one, for tests and simulations of the request path. */
import type { ApiKey, Consumer, Directory, KeyLookup, KeyRotation, KeyRotationResult, NewApiKey, Project } from '../directory/directory.js';
import { normalisedEmail } from '../directory/email.js';

type StoredKey = { key: ApiKey; readonly secret: string };

const DAY_MS = 86_400_000;

export class MemoryDirectory implements Directory {
  readonly #projects = new Map<string, Project>();
  readonly #keys = new Map<string, StoredKey>();
  readonly #consumers = new Map<string, Consumer>();
  readonly #unusedExpiryDays: number;

  constructor(unusedExpiryDays: number) {
    this.#unusedExpiryDays = unusedExpiryDays;
  }

  async createProject(project: Project): Promise<Project | null> {
    for (const known of this.#projects.values()) if (known.slug === project.slug) return null;
    this.#projects.set(project.projectId, project);
    return project;
  }

  async project(projectId: string): Promise<Project | null> {
    return this.#projects.get(projectId) ?? null;
  }

  async setPlan(projectId: string, plan: string | null): Promise<Project | null> {
    const project = this.#projects.get(projectId);
    if (project === undefined) return null;
    const changed = { ...project, plan };
    this.#projects.set(projectId, changed);
    return changed;
  }

  async createKey(key: NewApiKey, secret: string, activeMax: number): Promise<ApiKey | null> {
    const active = (await this.listKeys(key.projectId)).filter((known) => known.revokedAtMs === null && known.retiresAtMs === null);
    if (active.length >= activeMax) return null;
    const created = { ...key, role: key.role ?? 'owner', lastUsedAtMs: null, revokedAtMs: null, retiresAtMs: null };
    this.#keys.set(key.keyId, { key: created, secret });
    return created;
  }

  async rotateKey({ projectId, keyId, successor, secret, nowMs, graceMs, activeMax }: KeyRotation): Promise<KeyRotationResult> {
    const stored = this.#keys.get(keyId);
    if (stored === undefined || stored.key.projectId !== projectId) return { status: 'unknown' };
    if (stored.key.revokedAtMs !== null || stored.key.retiresAtMs !== null) return { status: 'ended' };
    const retiring = (await this.listKeys(projectId)).filter((key) => key.revokedAtMs === null && (key.retiresAtMs ?? 0) > nowMs);
    if (graceMs > 0 && retiring.length >= activeMax) return { status: 'too_many_retiring' };
    const key = { ...stored.key, ...successor, createdAtMs: nowMs, lastUsedAtMs: null };
    stored.key = { ...stored.key, ...(graceMs > 0 ? { retiresAtMs: nowMs + graceMs } : { revokedAtMs: nowMs }) };
    this.#keys.set(key.keyId, { key, secret });
    return { status: 'rotated', key, replaced: stored.key };
  }

  async listKeys(projectId: string): Promise<ApiKey[]> {
    return [...this.#keys.values()].map(({ key }) => key).filter((key) => key.projectId === projectId);
  }

  async revokeKey(projectId: string, keyId: string, nowMs: number): Promise<ApiKey | null> {
    const stored = this.#keys.get(keyId);
    if (stored === undefined || stored.key.projectId !== projectId) return null;
    stored.key = { ...stored.key, revokedAtMs: stored.key.revokedAtMs ?? nowMs };
    return stored.key;
  }

  async authenticate(secret: string, nowMs: number): Promise<KeyLookup> {
    const stored = [...this.#keys.values()].find((candidate) => candidate.secret === secret);
    const project = stored === undefined ? undefined : this.#projects.get(stored.key.projectId);
    if (stored === undefined || project === undefined) return { status: 'unknown' };
    if (stored.key.revokedAtMs !== null || nowMs >= (stored.key.retiresAtMs ?? Number.POSITIVE_INFINITY)) return { status: 'revoked' };
    const usedAtMs = stored.key.lastUsedAtMs ?? stored.key.createdAtMs;
    if (nowMs - usedAtMs > this.#unusedExpiryDays * DAY_MS) return { status: 'expired' };
    stored.key = { ...stored.key, lastUsedAtMs: nowMs };
    return { status: 'active', key: stored.key, project };
  }

  async findOrCreateConsumer(request: Parameters<Directory['findOrCreateConsumer']>[0]): Promise<Consumer> {
    const { projectId, consumerId, email, name, nowMs } = request;
    const place = `${projectId}\n${normalisedEmail(email)}`;
    const known = this.#consumers.get(place);
    const consumer =
      known === undefined ? { consumerId, projectId, email, name, createdAtMs: nowMs } : { ...known, name: name ?? known.name };
    this.#consumers.set(place, consumer);
    return consumer;
  }

  async consumer(projectId: string, consumerId: string): Promise<Consumer | null> {
    const consumer = await this.consumerById(consumerId);
    return consumer?.projectId === projectId ? consumer : null;
  }

  async consumerById(consumerId: string): Promise<Consumer | null> {
    return [...this.#consumers.values()].find((consumer) => consumer.consumerId === consumerId) ?? null;
  }

  async listConsumers(projectId: string, page: { readonly limit: number; readonly after: string | null }): Promise<Consumer[]> {
    const all = [...this.#consumers.values()].filter((consumer) => consumer.projectId === projectId);
    const newestFirst = all.sort((a, b) => (a.consumerId < b.consumerId ? 1 : -1));
    return newestFirst.filter(({ consumerId }) => page.after === null || consumerId < page.after).slice(0, page.limit);
  }
}
