/** The routes a deployment says it has. Security tests enumerate them, so that a route added later is asked too. */
import type { JsonSchema } from './fuzzed-value.js';
import type { HttpClient } from './http-client.js';

export type OpenApiRoute = {
  readonly method: 'GET' | 'POST' | 'DELETE' | 'PUT' | 'PATCH';
  /** Such as `/v1/requests/{id}`. */
  readonly path: string;
  readonly operationId: string;
  readonly policy: 'public' | 'project_key' | 'admin';
  readonly isBilled: boolean;
  readonly hasBody: boolean;
  /** What the body is to look like; `null` for a route without one. */
  readonly body: { readonly contentType: string; readonly schema: JsonSchema } | null;
  /** Names of the parameters in the path. */
  readonly pathParameters: readonly string[];
};

type Operation = {
  operationId: string;
  'x-policy': OpenApiRoute['policy'];
  'x-billed'?: boolean;
  requestBody?: { content: Record<string, { schema: JsonSchema }> };
};

/** The schemas that the bodies of routes refer to. */
export async function openApiSchemas(client: HttpClient): Promise<Readonly<Record<string, JsonSchema>>> {
  const { body } = await client.call('/openapi.json');
  return body.components.schemas;
}

export async function openApiRoutes(client: HttpClient): Promise<readonly OpenApiRoute[]> {
  const { body } = await client.call('/openapi.json');
  const routes: OpenApiRoute[] = [];
  for (const [path, operations] of Object.entries(body.paths as Record<string, Record<string, Operation>>)) {
    for (const [method, operation] of Object.entries(operations)) {
      routes.push({
        method: method.toUpperCase() as OpenApiRoute['method'],
        path,
        operationId: operation.operationId,
        policy: operation['x-policy'],
        isBilled: operation['x-billed'] === true,
        hasBody: operation.requestBody !== undefined,
        body: bodyOf(operation),
        pathParameters: [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? ''),
      });
    }
  }
  return routes;
}

function bodyOf({ requestBody }: Operation): OpenApiRoute['body'] {
  const [content] = Object.entries(requestBody?.content ?? {});
  return content === undefined ? null : { contentType: content[0], schema: content[1].schema };
}

/** The path with every parameter replaced by `id`. */
export function pathWith(route: OpenApiRoute, id: string): string {
  return route.path.replace(/\{\w+\}/g, encodeURIComponent(id));
}
