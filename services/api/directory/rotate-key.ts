/**
 * Replaces a key by a successor within one transaction, so that there is never a moment without a working key, nor one in which a failure leaves
 * two that were not asked for. Runs under the lock of the project's row.
 */
import type { ClientBase } from 'pg';
import { secretDigest } from './api-key-secret.js';
import type { KeyRotation } from './directory.js';
import { KEY_COLUMNS, type KeyRow } from './directory-rows.js';

export type RotatedRows =
  | { readonly status: 'rotated'; readonly key: KeyRow; readonly replaced: KeyRow }
  | { readonly status: 'unknown' | 'ended' | 'too_many_retiring' };

export async function rotateKey(client: ClientBase, rotation: KeyRotation, unusedExpiryMs: number): Promise<RotatedRows> {
  const { projectId, keyId, nowMs, graceMs } = rotation;
  const found = await client.query<KeyRow>(`select ${KEY_COLUMNS} from api.keys k where k.project_id = $1 and k.key_id = $2`, [
    projectId,
    keyId,
  ]);
  const old = found.rows[0];
  if (old === undefined) return { status: 'unknown' };
  if (hasEnded(old, nowMs, unusedExpiryMs)) return { status: 'ended' };
  if (graceMs > 0 && (await countRetiring(client, rotation)) >= rotation.activeMax) return { status: 'too_many_retiring' };
  const ended = await client.query<KeyRow>(
    graceMs > 0
      ? `update api.keys as k set retires_at = $3 where k.project_id = $1 and k.key_id = $2 returning ${KEY_COLUMNS}`
      : `update api.keys as k set revoked_at = $3 where k.project_id = $1 and k.key_id = $2 returning ${KEY_COLUMNS}`,
    [projectId, keyId, new Date(nowMs + graceMs)],
  );
  const made = await client.query<KeyRow>(
    `insert into api.keys as k (key_id, project_id, name, environment, hint, secret_sha256, created_at, role)
     select $3, project_id, name, environment, $4, $5, $6, role from api.keys where project_id = $1 and key_id = $2
     returning ${KEY_COLUMNS}`,
    [projectId, keyId, rotation.successor.keyId, rotation.successor.hint, secretDigest(rotation.secret), new Date(nowMs)],
  );
  const [replaced, key] = [ended.rows[0], made.rows[0]];
  if (replaced === undefined || key === undefined) throw new Error('a key that is there, under the lock of its project, can be replaced');
  return { status: 'rotated', key, replaced };
}

/** A key that is on its way out has a successor, which is the one to rotate. */
function hasEnded(key: KeyRow, nowMs: number, unusedExpiryMs: number): boolean {
  if (key.revoked_ms !== null || key.retires_ms !== null) return true;
  return nowMs - (key.last_used_ms ?? key.created_ms) >= unusedExpiryMs;
}

async function countRetiring(client: ClientBase, { projectId, nowMs }: KeyRotation): Promise<number> {
  const { rows } = await client.query<{ retiring: number }>(
    `select count(*)::int as retiring from api.keys where project_id = $1 and revoked_at is null and retires_at > $2`,
    [projectId, new Date(nowMs)],
  );
  return rows[0]?.retiring ?? 0;
}
