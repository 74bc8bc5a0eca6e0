/** The directory's rows as SQL selects them and as the code knows them. Times travel as Unix milliseconds. */
import type { ApiKey, Consumer, Project } from './directory.js';

const epochMs = (column: string, alias: string): string => `(extract(epoch from ${column}) * 1000)::float8 as ${alias}`;

export const PROJECT_COLUMNS = `p.project_id, p.name as project_name, p.slug, p.environment as project_environment, p.plan,
  ${epochMs('p.created_at', 'project_created_ms')}`;

export type ProjectRow = {
  readonly project_id: string;
  readonly project_name: string;
  readonly slug: string;
  readonly project_environment: Project['environment'];
  readonly plan: string | null;
  readonly project_created_ms: number;
};

export const KEY_COLUMNS = `k.key_id, k.project_id, k.name, k.role, k.environment, k.hint, k.secret_sha256,
  ${epochMs('k.created_at', 'created_ms')}, ${epochMs('k.last_used_at', 'last_used_ms')}, ${epochMs('k.revoked_at', 'revoked_ms')},
  ${epochMs('k.retires_at', 'retires_ms')}`;

export type KeyRow = {
  readonly key_id: string;
  readonly project_id: string;
  readonly name: string;
  readonly role: ApiKey['role'];
  readonly environment: ApiKey['environment'];
  readonly hint: string;
  readonly secret_sha256: Buffer;
  readonly created_ms: number;
  readonly last_used_ms: number | null;
  readonly revoked_ms: number | null;
  readonly retires_ms: number | null;
};

export const CONSUMER_COLUMNS = `c.consumer_id, c.project_id, c.email, c.name, ${epochMs('c.created_at', 'created_ms')}`;

export type ConsumerRow = {
  readonly consumer_id: string;
  readonly project_id: string;
  readonly email: string;
  readonly name: string | null;
  readonly created_ms: number;
};

export function projectFromRow(row: ProjectRow): Project {
  return {
    projectId: row.project_id,
    name: row.project_name,
    slug: row.slug,
    environment: row.project_environment,
    ...(row.plan === null ? {} : { plan: row.plan }),
    createdAtMs: Math.round(row.project_created_ms),
  };
}

export function keyFromRow(row: KeyRow): ApiKey {
  return {
    keyId: row.key_id,
    projectId: row.project_id,
    name: row.name,
    role: row.role,
    environment: row.environment,
    hint: row.hint,
    createdAtMs: Math.round(row.created_ms),
    lastUsedAtMs: row.last_used_ms === null ? null : Math.round(row.last_used_ms),
    revokedAtMs: row.revoked_ms === null ? null : Math.round(row.revoked_ms),
    retiresAtMs: row.retires_ms === null ? null : Math.round(row.retires_ms),
  };
}

export function consumerFromRow(row: ConsumerRow): Consumer {
  return {
    consumerId: row.consumer_id,
    projectId: row.project_id,
    email: row.email,
    name: row.name,
    createdAtMs: Math.round(row.created_ms),
  };
}
