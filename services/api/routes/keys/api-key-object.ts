/** Shows a key without its secret. */
import type { Preset } from '../../../../presets/preset-schema.js';
import type { ApiKey } from '../../directory/directory.js';
import { isoTime, isoTimeOrNull } from '../../presentation/amounts.js';

const DAY_MS = 86_400_000;

export function apiKeyObject(key: ApiKey, preset: Pick<Preset, 'api_keys'>, nowMs: number) {
  const unusedExpiryMs = (key.lastUsedAtMs ?? key.createdAtMs) + preset.api_keys.unused_expiry_days * DAY_MS;
  const expiresAtMs = Math.min(unusedExpiryMs, key.retiresAtMs ?? Number.POSITIVE_INFINITY);
  const isRevoked = key.revokedAtMs !== null;
  return {
    object: 'api_key' as const,
    id: key.keyId,
    name: key.name,
    role: key.role,
    environment: key.environment,
    status: isRevoked ? ('revoked' as const) : nowMs >= expiresAtMs ? ('expired' as const) : ('active' as const),
    hint: key.hint,
    created_at: isoTime(key.createdAtMs),
    last_used_at: isoTimeOrNull(key.lastUsedAtMs),
    expires_at: isRevoked ? null : isoTime(expiresAtMs),
    revoked_at: isoTimeOrNull(key.revokedAtMs),
  };
}
