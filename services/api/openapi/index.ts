/** `GET /openapi.json`: the document of the routes that this very process serves. */
import { readFileSync } from 'node:fs';
import { packageFile } from '../../../platform/package-root.js';
import type { RouteDefinition } from '../route.js';
import { defineRoute } from '../route.js';
import { type OpenApiDocument, type OpenApiOptions, openApiDocument } from './openapi-document.js';

export type OpenApiDeps = Pick<OpenApiOptions, 'preset' | 'publicBaseUrl'>;

/** `routes` gives all mounted routes, this one included; it is asked at the first request, when they are complete. */
export function openApiRoutes(deps: OpenApiDeps, routes: () => readonly RouteDefinition[]): RouteDefinition[] {
  let document: OpenApiDocument | null = null;
  return [
    defineRoute({
      method: 'get',
      path: '/openapi.json',
      operationId: 'getOpenApiDocument',
      summary: 'This document',
      tag: 'Service',
      policy: 'public',
      responses: { 200: { description: 'OpenAPI 3.1', contentType: 'application/json' } },
      handle: async () => {
        document ??= openApiDocument({
          routes: routes(),
          preset: deps.preset,
          publicBaseUrl: deps.publicBaseUrl,
          version: softwareVersion(),
        });
        return { status: 200, body: document, headers: { 'Cache-Control': 'no-cache' } };
      },
    }),
  ];
}

function softwareVersion(): string {
  return (JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { version: string }).version;
}
