/** Shows a model: what the offer promises, and honestly what runs it. */
import { z } from 'zod';
import { type Environment, formatAmount } from '../../../../events/contract/index.js';
import { MODEL_KINDS, makesEmbeddings, type Preset, type PresetModel } from '../../../../presets/preset-schema.js';
import type { ModelCatalogue, OfferedModel } from '../../model-catalogue.js';
import type { EngineContext } from '../../routing/engine-context.js';

export type ModelDeps = { readonly preset: Preset; readonly models: ModelCatalogue; readonly engineContext: EngineContext };

const tokens = z.number().int();

export const ModelObject = z
  .object({
    id: z.string(),
    object: z.literal('model'),
    created: z.number().int().describe('Unix seconds'),
    owned_by: z.string(),
    provider: z.string(),
    description: z.string(),
    kind: z.enum(MODEL_KINDS),
    embeddings: z.boolean().describe('Whether POST /v1/embeddings takes it'),
    context_window: tokens.describe('Tokens of prompt and completion together, as the loaded engine has them'),
    context: z.string().optional().describe('The context that the offer promises'),
    max_output_tokens: tokens,
    served_by: z.string().nullable().describe('Fingerprint of what really runs; null while nothing is loaded'),
    family: z.string().optional(),
    tier: z.string().optional(),
    parameters: z.string().optional(),
    best_for: z.string().optional(),
    quantization: z.string().optional().describe('Of the weights that the offer names'),
    quantizations: z.array(z.string()).optional().describe('What a request may ask for; the first is taken where it does not'),
    pools: z.array(z.string()).optional().describe('Where the model is offered'),
    metadata: z.record(z.string(), z.string()).optional(),
  })
  .meta({ id: 'Model' });

const Deprecation = z.object({ date: z.string().meta({ examples: ['2027-01-31'] }), replacement: z.string().nullable() });

export const ModelDetails = ModelObject.extend({
  deprecation: Deprecation.nullable().describe('When the model goes, and what to take instead; null while nothing is planned'),
}).meta({ id: 'ModelDetails' });

const Pricing = z.record(z.string(), z.union([z.string(), z.number()])).meta({
  description: 'How runs are charged; amounts are decimals of the unit.',
  examples: [{ kind: 'per_token', unit: 'USD', input_per_million: '0.01' }],
});

export const ModelInfo = ModelDetails.extend({
  offered_context_window: tokens.describe('What the offer promises; the loaded engine may have less, which is context_window'),
  pricing: Pricing,
  variants: z.array(z.object({ quantization: z.string(), pricing: Pricing })).optional(),
}).meta({ id: 'ModelInfo' });

export function modelObject(deps: ModelDeps, { model, variant }: OfferedModel, environment: Environment): z.infer<typeof ModelObject> {
  const engine = deps.engineContext(model.id, environment, { quantization: variant?.quantization ?? null, pools: null });
  const contextTokensMax = Math.min(model.context_window, engine?.contextTokensMax ?? model.context_window);
  const weights = variant?.weights ?? model.weights;
  return {
    id: model.id,
    object: 'model',
    created: model.created,
    owned_by: model.owned_by,
    provider: model.provider,
    description: model.description,
    kind: model.kind,
    embeddings: makesEmbeddings(model),
    context_window: contextTokensMax,
    max_output_tokens: Math.min(model.max_output_tokens, contextTokensMax - 1),
    served_by: engine?.systemFingerprint ?? null,
    ...given('context', model.context),
    ...given('family', model.family),
    ...given('tier', model.tier),
    ...given('parameters', model.parameters),
    ...given('best_for', model.best_for),
    ...given('quantization', weights?.quantization),
    ...given('quantizations', deps.models.quantizationsOf(model.id)),
    ...given('metadata', model.metadata),
    ...(deps.preset.pools.length === 0 ? {} : { pools: model.pools ?? deps.preset.pools.map(({ id }) => id) }),
  };
}

export function modelDetails(deps: ModelDeps, offered: OfferedModel, environment: Environment): z.infer<typeof ModelDetails> {
  const { deprecation } = offered.model;
  return {
    ...modelObject(deps, offered, environment),
    deprecation: deprecation === undefined ? null : { date: deprecation.date, replacement: deprecation.replacement ?? null },
  };
}

export function modelInfo(deps: ModelDeps, offered: OfferedModel, environment: Environment): z.infer<typeof ModelInfo> {
  const { model, variant } = offered;
  const pricing = (price: PresetModel['price']) => pricingOf(price, deps.preset.unit);
  const variants = model.variants?.map(({ quantization, price }) => ({ quantization, pricing: pricing(price ?? model.price) }));
  const offeredContext = { offered_context_window: model.context_window };
  return {
    ...modelDetails(deps, offered, environment),
    ...offeredContext,
    pricing: pricing(variant?.price ?? model.price),
    ...given('variants', variants),
  };
}

function pricingOf(price: PresetModel['price'], unit: string): z.infer<typeof Pricing> {
  const terms = Object.entries(price).map(([name, value]): [string, string | number] => [
    name,
    typeof value === 'bigint' ? formatAmount(value) : value,
  ]);
  return { unit, ...Object.fromEntries(terms) };
}

function given<Name extends string, Value>(name: Name, value: Value | undefined): { readonly [Key in Name]?: Value } {
  return value === undefined ? {} : ({ [name]: value } as { [Key in Name]: Value });
}
