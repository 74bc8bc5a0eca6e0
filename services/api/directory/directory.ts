/** The directory: who is who. Mutable rows in Postgres (projects, keys, consumers); the only place that knows e-mail addresses. */
import type { Environment } from '../../../events/contract/index.js';

export type Project = {
  readonly projectId: string;
  readonly name: string;
  readonly slug: string;
  readonly environment: Environment;
  /** Whose limits apply; the preset's `limits` for `null` and for none. */
  readonly plan?: string | null;
  readonly createdAtMs: number;
};

/**
 * What the holder of a key may do: `owner` everything, `developer` run and read, `finance` see to the money without running anything. Which
 * routes that means is in services/api/route-roles.ts.
 */
export const KEY_ROLES = ['owner', 'developer', 'finance'] as const;
export type KeyRole = (typeof KEY_ROLES)[number];

export type ApiKey = {
  readonly keyId: string;
  readonly projectId: string;
  readonly name: string;
  readonly role: KeyRole;
  readonly environment: Environment;
  /** First characters, for people to recognise it by; never enough to use. */
  readonly hint: string;
  readonly createdAtMs: number;
  readonly lastUsedAtMs: number | null;
  readonly revokedAtMs: number | null;
  /** Set on a key that was rotated: it works until then. */
  readonly retiresAtMs: number | null;
};

/** A key to be made. Without a role it is an owner's. */
export type NewApiKey = Omit<ApiKey, 'lastUsedAtMs' | 'revokedAtMs' | 'retiresAtMs' | 'role'> & { readonly role?: KeyRole };

export type KeyRotation = {
  readonly projectId: string;
  /** The key to be replaced. */
  readonly keyId: string;
  /** Its successor, which has its name, role and environment. */
  readonly successor: Pick<ApiKey, 'keyId' | 'hint'>;
  readonly secret: string;
  readonly nowMs: number;
  /** 0 ends the old key at once. */
  readonly graceMs: number;
  /** At most as many keys as this may be on their way out at once. */
  readonly activeMax: number;
};

export type KeyRotationResult =
  | { readonly status: 'rotated'; readonly key: ApiKey; readonly replaced: ApiKey }
  /** `unknown`: no such key in this project. `ended`: revoked, rotated before, or expired. */
  | { readonly status: 'unknown' | 'ended' | 'too_many_retiring' };

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
  /** `null` gives the preset's default back. Keys see it within a second. `null` for a project that is unknown. */
  setPlan(projectId: string, plan: string | null): Promise<Project | null>;

  /** Stores the SHA-256 of the secret. `null` when the project already has `activeMax` active keys, decided under a row lock. */
  createKey(key: NewApiKey, secret: string, activeMax: number): Promise<ApiKey | null>;
  /** Makes the successor and ends the old key, or says when it ends, in one transaction. */
  rotateKey(rotation: KeyRotation): Promise<KeyRotationResult>;
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
