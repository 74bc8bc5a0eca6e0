/** `GET /v1/models` and `/v1/models/{id}`: what is offered, and honestly what runs it. Ids may contain slashes, encoded or not. */
import { z } from 'zod';
import { defineRoute, type RouteDefinition } from '../../route.js';
import { type ModelDeps, ModelDetails, ModelObject, modelDetails, modelObject } from './model-object.js';

export type ModelsDeps = ModelDeps;

const ModelId = z.object({ id: z.string().min(1).max(200) });

export function modelsRoutes(deps: ModelsDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/models',
      operationId: 'listModels',
      summary: 'List the models on offer',
      tag: 'Models',
      policy: 'project_key',
      responses: { 200: { description: 'Every model', schema: z.object({ object: z.literal('list'), data: z.array(ModelObject) }) } },
      handle: async ({ caller }) => {
        const data = deps.models.all().map((offered) => modelObject(deps, offered, caller.environment));
        return { status: 200, body: { object: 'list', data } };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/models/*id',
      operationId: 'getModel',
      summary: 'One model',
      tag: 'Models',
      policy: 'project_key',
      params: ModelId,
      responses: { 200: { description: 'The model', schema: ModelDetails } },
      handle: async ({ caller }, { params }) => {
        return { status: 200, body: modelDetails(deps, deps.models.offered(params.id), caller.environment) };
      },
    }),
  ];
}
