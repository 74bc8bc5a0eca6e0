/** The routes a deployment says it has. Security tests enumerate them, so that a route added later is asked too. */
import type { HttpClient } from './http-client.js';

export type OpenApiRoute = {
  readonly method: 'GET' | 'POST' | 'DELETE' | 'PUT' | 'PATCH';
  /** Such as `/v1/requests/{id}`. */
  readonly path: string;
  readonly operationId: string;
  readonly policy: 'public' | 'project_key' | 'admin';
  readonly isBilled: boolean;
  readonly hasBody: boolean;
  /** Names of the parameters in the path. */
  readonly pathParameters: readonly string[];
};

type Operation = { operationId: string; 'x-policy': OpenApiRoute['policy']; 'x-billed'?: boolean; requestBody?: unknown };

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
        pathParameters: [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? ''),
      });
    }
  }
  return routes;
}

/** The path with every parameter replaced by `id`. */
export function pathWith(route: OpenApiRoute, id: string): string {
  return route.path.replace(/\{\w+\}/g, encodeURIComponent(id));
}
