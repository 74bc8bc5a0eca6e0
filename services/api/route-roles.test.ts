/** What each role may do, on every route there is: the matrix is made from the mounted routes. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { KEY_ROLES, type KeyRole } from './directory/directory.js';
import type { RouteDefinition } from './route.js';
import { ROUTE_ROLES, rolesOf } from './route-roles.js';
import { type BooksApi, startBooksApi } from './testing/books-api.js';

let api: BooksApi;
let keys: Record<KeyRole, string>;
beforeAll(async () => {
  api = await startBooksApi();
  const { key: owner } = await api.signUp('Roles');
  const keyOf = async (role: KeyRole) => (await api.call('/v1/keys', { key: owner, json: { role } })).body.key;
  keys = { owner, developer: await keyOf('developer'), finance: await keyOf('finance') };
});
afterAll(() => api.close());

const tenantRoutes = () => api.routes.filter(({ policy }) => policy === 'project_key');

/** With ids that are nobody's and a body that says nothing: refused before anything happens, but by the role first. */
function ask(route: RouteDefinition, key: string) {
  const path = route.path.replace(/[:*]\w+/g, 'nothing');
  const isPost = route.method === 'post';
  return api.call(path, { method: route.method.toUpperCase(), key, ...(isPost ? { json: {} } : {}) });
}

describe('roles', () => {
  test('every route that a key opens says who may call it, and owners may call all', () => {
    const undeclared = tenantRoutes().filter(({ operationId }) => ROUTE_ROLES[operationId] === undefined);
    expect(undeclared.map(({ operationId }) => operationId)).toEqual([]);
    for (const { operationId } of tenantRoutes()) expect(rolesOf(operationId)).toContain('owner');
  });

  test('what may be charged is for those who run things', () => {
    for (const { operationId } of tenantRoutes().filter(({ billed }) => billed === true)) {
      expect([operationId, ...rolesOf(operationId)]).toEqual([operationId, 'owner', 'developer']);
    }
  });

  test.each(KEY_ROLES)('%s: 403 with its own code where it may not, never where it may', async (role) => {
    const wrong: string[] = [];
    for (const route of tenantRoutes()) {
      const { status, body } = await ask(route, keys[role]);
      const isRefused = status === 403 && body.error.type === 'permission_error' && body.error.code === 'role_not_allowed';
      if (isRefused === rolesOf(route.operationId).includes(role)) wrong.push(`${route.operationId}: ${status}`);
    }
    expect(wrong).toEqual([]);
  });

  test('a developer makes no keys, so it cannot give itself a greater role', async () => {
    const made = await api.call('/v1/keys', { key: keys.developer, json: { role: 'owner' } });
    expect([made.status, made.body.error.message.includes('owner')]).toEqual([403, true]);
  });
});
