/** `GET /v1/model/info?model=`: one model with its prices. The id is a query parameter, so that ids with colons and slashes need no encoding. */
import { z } from 'zod';
import { defineRoute, type RouteDefinition } from '../../route.js';
import { type ModelDeps, ModelInfo, modelInfo } from '../models/model-object.js';

export type ModelInfoDeps = ModelDeps;

const ModelInfoQuery = z.object({
  model: z.string().min(1).max(200),
  quantization: z.string().max(20).optional().meta({ description: 'Of a variant; the cheapest where it is left out.' }),
});

export function modelInfoRoutes(deps: ModelInfoDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/model/info',
      operationId: 'getModelInfo',
      summary: 'One model, with its context window and prices',
      tag: 'Models',
      policy: 'project_key',
      query: ModelInfoQuery,
      responses: { 200: { description: 'The model', schema: ModelInfo }, 404: { description: 'No such model is offered' } },
      handle: async ({ caller }, { query }) => {
        const offered = deps.models.offered(query.model, query.quantization);
        return { status: 200, body: modelInfo(deps, offered, caller.environment) };
      },
    }),
  ];
}
