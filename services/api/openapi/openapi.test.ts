import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { loadPreset } from '../../../presets/load-preset.js';
import { defineRoute } from '../route.js';
import { type BooksApi, PUBLIC_BASE_URL, startBooksApi } from '../testing/books-api.js';
import { openApiDocument, openApiPath } from './openapi-document.js';

// biome-ignore lint/suspicious/noExplicitAny: tests look into the document freely
type Json = any;

let api: BooksApi;
let document: Json;
beforeAll(async () => {
  api = await startBooksApi();
  document = (await api.call('/openapi.json')).body;
});
afterAll(() => api.close());

const METHODS = ['get', 'post', 'delete'];

function operations(): { path: string; method: string; operation: Json }[] {
  return Object.entries<Json>(document.paths).flatMap(([path, item]) =>
    Object.entries<Json>(item).map(([method, operation]) => ({ path, method, operation })),
  );
}

function everyObject(node: Json, visit: (object: Json) => void): void {
  if (typeof node !== 'object' || node === null) return;
  if (!Array.isArray(node)) visit(node);
  for (const value of Object.values(node)) everyObject(value, visit);
}

describe('GET /openapi.json', () => {
  test('is OpenAPI 3.1 with the fields the standard requires', () => {
    expect(document.openapi).toBe('3.1.0');
    expect(document.info).toMatchObject({ title: 'Farebox API', version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
    expect(document.servers).toEqual([{ url: PUBLIC_BASE_URL }]);
    for (const { method, operation } of operations()) {
      expect(METHODS).toContain(method);
      expect(operation.operationId).toMatch(/^[a-z][A-Za-z]+$/);
      expect(Object.keys(operation.responses).length).toBeGreaterThan(0);
      for (const [status, response] of Object.entries<Json>(operation.responses)) {
        expect(status).toMatch(/^[2-5]\d\d$/);
        expect(typeof response.description).toBe('string');
      }
    }
  });

  test('holds every mounted route with its policy, and nothing else', () => {
    const mounted = api.routes.map((route) => `${route.method} ${openApiPath(route.path)} ${route.policy}`).sort();
    const documented = operations().map(({ path, method, operation }) => `${method} ${path} ${operation['x-policy']}`);
    expect(documented.sort()).toEqual(mounted);
    expect(mounted.length).toBeGreaterThan(15);
    expect(mounted).toContain('get /openapi.json public');
  });

  test('says who may call: no security, the project key, or the admin key, as the policy is', () => {
    const security: Record<string, Json> = { public: [], project_key: [{ projectKey: [] }], admin: [{ adminKey: [] }] };
    for (const { operation } of operations()) {
      expect(operation.security).toEqual(security[operation['x-policy']]);
      const statuses = Object.keys(operation.responses);
      // A public route may have a signature of its own to check.
      if (operation['x-policy'] !== 'public') expect(statuses).toContain('401');
      if (operation['x-policy'] === 'admin') expect(statuses).toContain('403');
    }
    expect(document.components.securitySchemes.projectKey).toMatchObject({ type: 'http', scheme: 'bearer' });
  });

  test('names no operation twice', () => {
    const ids = operations().map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test('declares exactly the parameters that each path has', () => {
    for (const { path, operation } of operations()) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();
      const declared = (operation.parameters ?? []).filter((parameter: Json) => parameter.in === 'path');
      expect([path, declared.map((parameter: Json) => parameter.name).sort()]).toEqual([path, inPath]);
      for (const parameter of declared) expect(parameter.required).toBe(true);
    }
  });

  test('resolves every reference within itself, and leaves no component unused', () => {
    const used = new Set<string>();
    everyObject(document, (object) => {
      if (typeof object.$ref !== 'string') return;
      const [root, ...keys] = object.$ref.split('/');
      const target = keys.reduce((node: Json, key: string) => node?.[key], document);
      expect([object.$ref, root, typeof target]).toEqual([object.$ref, '#', 'object']);
      used.add(object.$ref);
    });
    for (const [kind, components] of [
      ['schemas', document.components.schemas],
      ['headers', document.components.headers],
    ]) {
      for (const name of Object.keys(components)) expect(used).toContain(`#/components/${kind}/${name}`);
    }
  });

  test('states a shared schema once', () => {
    expect(document.components.schemas.CreatedProject.properties.key).toEqual({ $ref: '#/components/schemas/ApiKey' });
    expect(document.paths['/v1/keys'].get.responses[200].content['application/json'].schema).toEqual({
      $ref: '#/components/schemas/ApiKeyList',
    });
  });

  test('requires of a request what validation requires, and lets responses grow', () => {
    const request = document.components.schemas.CreateProjectRequest;
    expect(request.required).toEqual(['name']);
    expect(request.additionalProperties).toBe(false);
    expect(request.properties.environment).toMatchObject({ enum: ['live', 'test'], default: 'test' });
    expect(document.components.schemas.CreatedProject).not.toHaveProperty('additionalProperties');
  });

  test('describes refusals in the dialect of the preset, and the headers of its limits', async () => {
    expect(document.components.schemas.Error.required).toEqual(['error', 'detail']);
    expect(Object.keys(document.components.headers)).toEqual(
      expect.arrayContaining(['X-Request-Id', 'X-RateLimit-Limit', 'X-RateLimit-Limit-Tokens', 'X-RateLimit-Limit-Day']),
    );
    const hunt = openApiDocument({ routes: api.routes, preset: loadPreset('hunt'), publicBaseUrl: PUBLIC_BASE_URL, version: '1.0.0' });
    expect(hunt.components.schemas['Error']?.['required']).toEqual(['detail']);
    expect(Object.keys(hunt.components.headers)).toEqual([
      'X-Request-Id',
      'X-RateLimit-Limit',
      'X-RateLimit-Remaining',
      'X-RateLimit-Reset',
    ]);
    const billed: Json = hunt.paths['/v1/chat/completions']?.['post'];
    expect(billed['x-billed']).toBe(true);
    expect(billed.responses[403].description).toMatch(/not enough credit/i);
    const huru = openApiDocument({ routes: api.routes, preset: loadPreset('huru'), publicBaseUrl: PUBLIC_BASE_URL, version: '1.0.0' });
    const chat: Json = huru.paths['/v1/chat/completions']?.['post'];
    expect(Object.keys(chat.responses)).toEqual(expect.arrayContaining(['200', '400', '401', '402', '409', '422', '429', '503']));
  });

  test('names the headers that decide who pays', () => {
    const names = document.paths['/v1/chat/completions'].post.parameters.map((parameter: Json) => parameter.name);
    expect(names).toEqual([
      'Idempotency-Key',
      'X-Consumer-Email',
      'X-Consumer-Name',
      'X-Farebox-Idempotency-Key',
      'X-Farebox-Pool',
      'X-Farebox-Pool-Fallback',
    ]);
  });

  test('is filled from the preset: brand, models, example and header names', () => {
    const { info, paths, components }: Json = openApiDocument({
      routes: api.routes,
      preset: loadPreset('hoonify-dev'),
      publicBaseUrl: PUBLIC_BASE_URL,
      version: '1.0.0',
    });
    const chat = paths['/v1/chat/completions'].post;
    expect(info).toMatchObject({ title: 'Hoonify API', description: expect.stringContaining('`mixtral-8x22b`') });
    expect(chat.requestBody.content['application/json'].example.model).toBe('llama-3.3-70b');
    expect(chat.parameters.map((parameter: Json) => parameter.name)).toContain('X-Hoonify-Pool-Fallback');
    expect(chat['x-roles']).toEqual(['owner', 'developer']);
    expect(components.securitySchemes.projectKey.description).toContain('hny_live_');
  });

  test('gives a name of its own to a schema that differs between request and response', () => {
    const Shape = z.object({ size: z.number().default(1) }).meta({ id: 'Shape' });
    const route = defineRoute({
      method: 'post',
      path: '/shapes',
      operationId: 'makeShape',
      summary: 'Make a shape',
      tag: 'Shapes',
      policy: 'public',
      body: Shape,
      responses: { 200: { description: 'The shape', schema: Shape } },
      handle: async () => ({ status: 200, body: {} }),
    });
    const shapes = openApiDocument({ routes: [route], preset: api.preset, publicBaseUrl: PUBLIC_BASE_URL, version: '1.0.0' });
    expect(shapes.components.schemas['Shape']).not.toHaveProperty('required');
    expect(shapes.components.schemas['ShapeResponse']).toMatchObject({ required: ['size'] });
  });
});
