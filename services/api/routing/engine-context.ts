/** What the API asks of whoever knows the engines: is there one for this model, in one of these pools, and what is it. */
import type { Environment } from '../../../events/contract/index.js';

export type EngineWanted = {
  /** Of the model's variants; `null` where it has none. */
  readonly quantization: string | null;
  /** In the order in which they are tried; `null`: any. */
  readonly pools: readonly string[] | null;
};

export type EngineFound = {
  /** Where it is. In a deployment of one process that stands in for all of a preset's pools, the one that was wanted first. */
  readonly pool: string;
  /** May be less than the offer promises, and then the lesser counts. */
  readonly contextTokensMax: number;
  readonly systemFingerprint: string;
};

/** `null`: nothing serves it there. Called without `wanted` it looks everywhere. */
export type EngineContext = (model: string, environment: Environment, wanted?: EngineWanted) => EngineFound | null;
