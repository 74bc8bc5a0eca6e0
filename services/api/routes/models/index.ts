/** `GET /v1/models` and `/v1/models/{id}`: what is offered, and honestly what runs it. Ids may contain slashes, encoded or not. */
import { z } from 'zod';
import type { Environment } from '../../../../events/contract/index.js';
import type { Preset } from '../../../../presets/preset-schema.js';
import type { ModelCatalogue, OfferedModel } from '../../model-catalogue.js';
import { defineRoute, type RouteDefinition } from '../../route.js';
import type { EngineContext } from '../chat-completions/plan-run.js';

export type ModelsDeps = { readonly preset: Preset; readonly models: ModelCatalogue; readonly engineContext: EngineContext };

const ModelObject = z.object({
  id: z.string(),
  object: z.literal('model'),
  created: z.number().int().describe('Unix seconds'),
  owned_by: z.string(),
  provider: z.string(),
  description: z.string(),
  context_window: z.number().int().describe('Tokens of prompt and completion together, as the loaded engine has them'),
  max_output_tokens: z.number().int(),
  served_by: z.string().nullable().describe('Fingerprint of what really runs; null while nothing is loaded'),
  family: z.string().optional(),
  tier: z.string().optional(),
  parameters: z.string().optional(),
  best_for: z.string().optional(),
  quantization: z.string().optional().describe('Of the weights that the offer names'),
});

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
      responses: { 200: { description: 'The model', schema: ModelObject } },
      handle: async ({ caller }, { params }) => {
        return { status: 200, body: modelObject(deps, deps.models.offered(params.id), caller.environment) };
      },
    }),
  ];
}

function modelObject(deps: ModelsDeps, { model }: OfferedModel, environment: Environment): z.infer<typeof ModelObject> {
  const engine = deps.engineContext(model.id, environment);
  const contextTokensMax = Math.min(model.context_window, engine?.contextTokensMax ?? model.context_window);
  return {
    id: model.id,
    object: 'model',
    created: model.created,
    owned_by: model.owned_by,
    provider: model.provider,
    description: model.description,
    context_window: contextTokensMax,
    max_output_tokens: Math.min(model.max_output_tokens, contextTokensMax - 1),
    served_by: engine?.systemFingerprint ?? null,
    ...(model.family === undefined ? {} : { family: model.family }),
    ...(model.tier === undefined ? {} : { tier: model.tier }),
    ...(model.parameters === undefined ? {} : { parameters: model.parameters }),
    ...(model.best_for === undefined ? {} : { best_for: model.best_for }),
    ...(model.weights === undefined ? {} : { quantization: model.weights.quantization }),
  };
}
