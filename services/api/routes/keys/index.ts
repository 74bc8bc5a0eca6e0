/** The caller's project's keys: make, list, rotate, revoke. */
import type { Clock } from '../../../../platform/clock.js';
import type { IdSource } from '../../../../platform/id-source.js';
import type { Preset } from '../../../../presets/preset-schema.js';
import { apiKeyHint, makeApiKeySecret } from '../../directory/api-key-secret.js';
import type { Directory } from '../../directory/directory.js';
import { isId } from '../../presentation/fields.js';
import { refuse } from '../../refusals.js';
import { type Caller, defineRoute, type RouteDefinition } from '../../route.js';
import { apiKeyObject } from './api-key-object.js';
import { ApiKeyList, ApiKeyObject, CreatedApiKey, CreateKeyRequest, KeyParams, RotatedApiKey, RotateKeyRequest } from './schemas.js';

export type KeysDeps = {
  readonly directory: Pick<Directory, 'createKey' | 'listKeys' | 'revokeKey' | 'rotateKey'>;
  readonly preset: Pick<Preset, 'api_keys' | 'policies'>;
  readonly clock: Clock;
  readonly ids: IdSource;
};

export function keysRoutes(deps: KeysDeps): RouteDefinition[] {
  return [createKeyRoute(deps), listKeysRoute(deps), rotateRoute(deps), revokeRoute(deps, 'delete'), revokeRoute(deps, 'post')];
}

function createKeyRoute(deps: KeysDeps): RouteDefinition {
  const { api_keys: offer } = deps.preset;
  return defineRoute({
    method: 'post',
    path: '/v1/keys',
    operationId: 'createKey',
    summary: `Create an API key; a project may have ${offer.active_max} active ones`,
    tag: 'Keys',
    policy: 'project_key',
    body: CreateKeyRequest,
    responses: {
      201: { description: 'The key, with its secret shown this once', schema: CreatedApiKey },
      409: { description: 'The project already has as many active keys as it may' },
    },
    handle: async ({ caller }, { body }) => {
      if (body.environment !== undefined && body.environment !== caller.environment) {
        const message = `This is a ${caller.environment} project. Create a ${body.environment} project for ${body.environment} keys.`;
        throw refuse('invalid_parameter', { message, param: 'environment' });
      }
      const prefix = caller.environment === 'live' ? offer.live_prefix : offer.test_prefix;
      const secret = makeApiKeySecret(prefix);
      const createdAtMs = deps.clock.nowMs();
      const key = await deps.directory.createKey(
        {
          keyId: deps.ids.next('key'),
          projectId: caller.projectId,
          name: body.name,
          role: body.role,
          environment: caller.environment,
          hint: apiKeyHint(secret, prefix),
          createdAtMs,
        },
        secret,
        offer.active_max,
      );
      if (key === null) {
        const message = `The project already has ${offer.active_max} active keys. Revoke one first.`;
        throw refuse('active_key_limit_reached', { message });
      }
      return { status: 201, body: { ...apiKeyObject(key, deps.preset, createdAtMs), key: secret } };
    },
  });
}

function rotateRoute(deps: KeysDeps): RouteDefinition {
  return defineRoute({
    method: 'post',
    path: '/v1/keys/:id/rotate',
    operationId: 'rotateKey',
    summary: 'Replace a key by a new one of its name and role; the old one ends at once or after a grace',
    tag: 'Keys',
    policy: 'project_key',
    params: KeyParams,
    body: RotateKeyRequest.prefault({}),
    responses: {
      201: { description: 'The new key, with its secret shown this once, and what became of the old one', schema: RotatedApiKey },
      404: { description: 'No such key in this project' },
      409: { description: 'The key has ended or was rotated before' },
    },
    handle: async ({ caller }, { params, body }) => {
      const graceSeconds = body.grace_seconds ?? deps.preset.policies.key_rotation_grace_seconds;
      return { status: 201, body: await rotate(deps, caller, params.id, graceSeconds * 1_000) };
    },
  });
}

async function rotate(deps: KeysDeps, caller: Caller, keyId: string, graceMs: number) {
  const { live_prefix: live, test_prefix: test, active_max: activeMax } = deps.preset.api_keys;
  const prefix = caller.environment === 'live' ? live : test;
  const secret = makeApiKeySecret(prefix);
  const nowMs = deps.clock.nowMs();
  const successor = { keyId: deps.ids.next('key'), hint: apiKeyHint(secret, prefix) };
  const result = isId(keyId, 'key_')
    ? await deps.directory.rotateKey({ projectId: caller.projectId, keyId, successor, secret, nowMs, graceMs, activeMax })
    : ({ status: 'unknown' } as const);
  switch (result.status) {
    case 'unknown':
      throw refuse('resource_not_found', { message: 'There is no such key.' });
    case 'ended':
      throw refuse('conflict', { message: 'This key has ended or was rotated before. Rotate its successor, or create a new key.' });
    case 'too_many_retiring':
      throw refuse('active_key_limit_reached', {
        message: `${activeMax} rotated keys still work. Rotate without a grace, or revoke one first.`,
      });
    case 'rotated': {
      const replaced = apiKeyObject(result.replaced, deps.preset, nowMs);
      return { ...apiKeyObject(result.key, deps.preset, nowMs), key: secret, replaced };
    }
  }
}

function listKeysRoute(deps: KeysDeps): RouteDefinition {
  return defineRoute({
    method: 'get',
    path: '/v1/keys',
    operationId: 'listKeys',
    summary: 'List the keys of the project: those not revoked first, newest first',
    tag: 'Keys',
    policy: 'project_key',
    responses: { 200: { description: 'The keys, without their secrets', schema: ApiKeyList } },
    handle: async ({ caller }) => {
      const keys = await deps.directory.listKeys(caller.projectId);
      const nowMs = deps.clock.nowMs();
      return { status: 200, body: { object: 'list', data: keys.map((key) => apiKeyObject(key, deps.preset, nowMs)) } };
    },
  });
}

/** `DELETE /v1/keys/:id`, and the same as `POST /v1/keys/:id/revoke` for clients that cannot send DELETE. */
function revokeRoute(deps: KeysDeps, method: 'delete' | 'post'): RouteDefinition {
  return defineRoute({
    method,
    path: method === 'delete' ? '/v1/keys/:id' : '/v1/keys/:id/revoke',
    operationId: method === 'delete' ? 'deleteKey' : 'revokeKey',
    summary: 'Revoke a key; it stops working within a second',
    tag: 'Keys',
    policy: 'project_key',
    params: KeyParams,
    responses: {
      200: { description: 'The revoked key; revoking twice keeps the first time', schema: ApiKeyObject },
      404: { description: 'No such key in this project' },
    },
    handle: async ({ caller }, { params }) => ({ status: 200, body: await revoke(deps, caller, params.id) }),
  });
}

async function revoke(deps: KeysDeps, caller: Caller, keyId: string) {
  const nowMs = deps.clock.nowMs();
  const key = isId(keyId, 'key_') ? await deps.directory.revokeKey(caller.projectId, keyId, nowMs) : null;
  if (key === null) throw refuse('resource_not_found', { message: 'There is no such key.' });
  return apiKeyObject(key, deps.preset, nowMs);
}
