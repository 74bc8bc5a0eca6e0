/** Finds out who calls: the holder of a project's key, or of the admin key. Unknown and malformed keys get the same answer. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../../platform/clock.js';
import type { Directory } from './directory/directory.js';
import { refuse } from './refusals.js';
import type { Caller } from './route.js';

/** Longer than any key that is handed out; what exceeds it is not looked up. */
const SECRET_CHARACTERS_MAX = 256;
const BEARER = /^bearer +(\S+) *$/i;

/** Throws a `RefusalError` unless the request carries an active key of a project. */
export async function authenticateProject(request: IncomingMessage, directory: Directory, clock: Clock): Promise<Caller> {
  const secret = secretOf(request);
  if (secret === null) throw refuse('missing_api_key');
  if (secret.length > SECRET_CHARACTERS_MAX) throw refuse('invalid_api_key');
  const found = await directory.authenticate(secret, clock.nowMs());
  switch (found.status) {
    case 'active':
      return {
        projectId: found.project.projectId,
        keyId: found.key.keyId,
        role: found.key.role,
        environment: found.key.environment,
        plan: found.project.plan ?? null,
      };
    case 'revoked':
      throw refuse('api_key_revoked');
    case 'expired':
      throw refuse('api_key_expired');
    case 'unknown':
      throw refuse('invalid_api_key');
  }
}

/** Returns a check that throws a `RefusalError` unless the request carries the admin key. Digests are compared, in constant time. */
export function adminCheck(adminKey: string): (request: IncomingMessage) => void {
  if (adminKey === '') throw new Error('the admin key must not be empty');
  const expected = sha256(adminKey);
  return (request) => {
    const secret = secretOf(request);
    if (secret === null) throw refuse('missing_api_key', { message: 'Send the admin key as "Authorization: Bearer ADMIN_KEY".' });
    if (!timingSafeEqual(sha256(secret), expected)) throw refuse('admin_key_required');
  };
}

/** The secret of `Authorization: Bearer …`, or of `x-api-key`. `null` when there is neither. */
function secretOf(request: IncomingMessage): string | null {
  const authorization = request.headers.authorization;
  if (authorization !== undefined) {
    const secret = BEARER.exec(authorization)?.[1];
    if (secret === undefined) throw refuse('invalid_api_key');
    return secret;
  }
  const header = request.headers['x-api-key'];
  return typeof header === 'string' && header !== '' ? header : null;
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
