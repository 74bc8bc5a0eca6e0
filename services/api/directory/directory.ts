/** The directory: who is who. Mutable rows in Postgres (projects, keys, consumers); the only place that knows e-mail addresses. */
import type { Environment } from '../../../events/contract/index.js';

export type Project = {
  readonly projectId: string;
  readonly name: string;
  readonly slug: string;
  readonly environment: Environment;
  readonly createdAtMs: number;
};

export type ApiKey = {
  readonly keyId: string;
  readonly projectId: string;
  readonly name: string;
  readonly environment: Environment;
  /** First characters, for people to recognise it by; never enough to use. */
  readonly hint: string;
  readonly createdAtMs: number;
  readonly lastUsedAtMs: number | null;
  readonly revokedAtMs: number | null;
};

export type Consumer = {
  readonly consumerId: string;
  readonly projectId: string;
  readonly email: string;
  readonly name: string | null;
  readonly createdAtMs: number;
};

export type KeyLookup =
  | { readonly status: 'active'; readonly key: ApiKey; readonly project: Project }
  | { readonly status: 'unknown' | 'revoked' | 'expired' };

export interface Directory {
  /** `slug` taken: `null`. */
  createProject(project: Project): Promise<Project | null>;
  project(projectId: string): Promise<Project | null>;

  /** Stores the SHA-256 of the secret. `null` when the project already has `activeMax` active keys, decided under a row lock. */
  createKey(key: Omit<ApiKey, 'lastUsedAtMs' | 'revokedAtMs'>, secret: string, activeMax: number): Promise<ApiKey | null>;
  /** Those not revoked first, newest first within; bounded. */
  listKeys(projectId: string): Promise<ApiKey[]>;
  /** `null` for a key that is unknown or another project's. Revoking twice keeps the first time. */
  revokeKey(projectId: string, keyId: string, nowMs: number): Promise<ApiKey | null>;
  /** Looks up by digest, cached for under a second (a revocation is seen within one). Notes the use, at most once a minute. */
  authenticate(secret: string, nowMs: number): Promise<KeyLookup>;

  /** Finds by normalised e-mail within the project, or creates; concurrent first calls end with one consumer. A given name is kept up to date. */
  findOrCreateConsumer(request: {
    readonly projectId: string;
    /** Used when the consumer is new. */
    readonly consumerId: string;
    readonly email: string;
    readonly name: string | null;
    readonly nowMs: number;
  }): Promise<Consumer>;
  consumer(projectId: string, consumerId: string): Promise<Consumer | null>;
  /** For admins, who are not bound to a project. */
  consumerById(consumerId: string): Promise<Consumer | null>;
  /** Newest first; `after` is the last consumer id of the previous page. */
  listConsumers(projectId: string, page: { readonly limit: number; readonly after: string | null }): Promise<Consumer[]>;
}
