/** `GET /docs`: an interactive playground for the API, from the copy of Swagger UI in the installation. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { Response } from 'express';
import { z } from 'zod';
import type { Preset } from '../../../presets/preset-schema.js';
import { refuse } from '../refusals.js';
import { defineRoute, type RouteDefinition } from '../route.js';
import { PLAYGROUND_POLICY, PLAYGROUND_SCRIPT, PLAYGROUND_SCRIPT_NAME, playgroundPage } from './playground.js';

export type DocsPageDeps = { readonly preset: { readonly brand: Pick<Preset['brand'], 'display_name'> } };

/** The only files served, by name; the request's text never becomes part of a path. */
const ASSET_TYPES: ReadonlyMap<string, string> = new Map([
  ['swagger-ui.css', 'text/css; charset=utf-8'],
  ['swagger-ui-bundle.js', 'text/javascript; charset=utf-8'],
  ['favicon-32x32.png', 'image/png'],
  [PLAYGROUND_SCRIPT_NAME, 'text/javascript; charset=utf-8'],
]);

const ASSET_CACHE_SECONDS = 3_600;

export function docsPageRoutes(deps: DocsPageDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'get',
      path: '/docs',
      operationId: 'showPlayground',
      summary: 'An interactive playground',
      tag: 'Service',
      policy: 'public',
      responses: { 200: { description: 'The page', contentType: 'text/html' } },
      handle: async ({ response }) => {
        response.setHeader('Content-Security-Policy', PLAYGROUND_POLICY);
        send(response, 'text/html; charset=utf-8', 'no-cache', playgroundPage(deps.preset.brand.display_name));
        return { sent: true };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/docs/assets/:file',
      operationId: 'getPlaygroundAsset',
      summary: 'Scripts and styles of the playground',
      tag: 'Service',
      policy: 'public',
      params: z.object({ file: z.string() }),
      responses: { 200: { description: 'The file', contentType: 'application/octet-stream' }, 404: { description: 'No such file' } },
      handle: async ({ response }, { params }) => {
        const type = ASSET_TYPES.get(params.file);
        if (type === undefined) throw refuse('resource_not_found', { message: 'There is no such file.' });
        send(response, type, `public, max-age=${ASSET_CACHE_SECONDS}`, await assetOf(params.file));
        return { sent: true };
      },
    }),
  ];
}

/** Read at each request: the playground is opened rarely, and 1.5 MB in memory would be there always. */
async function assetOf(name: string): Promise<Buffer | string> {
  if (name === PLAYGROUND_SCRIPT_NAME) return PLAYGROUND_SCRIPT;
  return readFile(createRequire(import.meta.url).resolve(`swagger-ui-dist/${name}`));
}

function send(response: Response, type: string, cacheControl: string, content: Buffer | string): void {
  response.statusCode = 200;
  response.setHeader('Content-Type', type);
  response.setHeader('Cache-Control', cacheControl);
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.setHeader('Referrer-Policy', 'no-referrer');
  response.end(content);
}
