/** What an engine behind a network knows about a result beyond the Engine port: who really served it, and who counted its tokens. */
import { NO_USAGE } from '../../../events/contract/index.js';
import type { EngineResult } from '../engine.js';

/** `counted_locally`: at least one of the charged counts is ours, because the upstream gave none that can be true. */
export type UsageSource = 'engine' | 'counted_locally';

export type ServedResult = EngineResult & {
  /** Absent where nothing was generated. */
  readonly usageSource?: UsageSource;
  /** Of the engine that served this run; several may stand behind one port. Absent where none did. */
  readonly systemFingerprint?: string;
};

export const CANCELLED_BEFORE_START: ServedResult = { outcome: 'cancelled', finishReason: null, usage: NO_USAGE };
