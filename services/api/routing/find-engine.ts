/** Chooses the pool of a run: where the client pinned it, or where there is an engine for it. Nothing is held before one is found. */
import type { IncomingMessage } from 'node:http';
import type { Environment } from '../../../events/contract/index.js';
import type { Preset } from '../../../presets/preset-schema.js';
import type { OfferedModel } from '../model-catalogue.js';
import { refuse } from '../refusals.js';
import type { EngineContext, EngineFound } from './engine-context.js';
import { poolsWanted } from './pool-headers.js';

/** Throws `invalid_value` for a pool that does not exist, and `provider_unavailable` where nothing serves the model. */
export function findEngine(
  deps: { readonly preset: Preset; readonly engineContext: EngineContext },
  request: IncomingMessage,
  { model, variant }: OfferedModel,
  environment: Environment,
): EngineFound {
  const pools = poolsWanted(request, deps.preset, model);
  const quantization = variant?.quantization ?? null;
  const found = deps.engineContext(model.id, environment, { quantization, pools });
  if (found !== null) return found;
  const what = quantization === null ? model.id : `${model.id} as ${quantization}`;
  const where = pools === null ? '' : ` in ${pools.length === 1 ? 'the pool' : 'the pools'} ${pools.join(', ')}`;
  throw refuse('provider_unavailable', { message: `Nothing serves ${what}${where} at the moment. Nothing was charged.` });
}
