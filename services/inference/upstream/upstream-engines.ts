/**
 * Every model that the preset has served by upstreams, each behind a failover of its own, and each variant too where the preset tells them apart;
 * `FAREBOX_MODEL` adds its local weights.
 */
import type { Logger } from 'pino';
import { systemClock } from '../../../platform/clock.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { type Environment, SettingsError } from '../../../platform/settings.js';
import type { PresetModel } from '../../../presets/preset-schema.js';
import type { Engine } from '../engine.js';
import { ANY_VARIANT, type LiveEngines, type LiveOptions, nameOf, type ServedModel } from '../live-engines.js';
import { failoverEngine } from './failover-engine.js';
import { upstreamEngine } from './upstream-engine.js';
import { upstreamTarget } from './upstream-settings.js';

export type UpstreamOptions = LiveOptions & {
  /** The engine of `FAREBOX_MODEL`, where it is set. */
  readonly local: LiveEngines | null;
};

/** Throws `SettingsError`. */
export function upstreamEngines({ settings, preset, environment, logger, local }: UpstreamOptions): LiveEngines {
  const models = preset.models.filter((model) => model.served_by !== undefined);
  const [first] = models;
  if (first === undefined) throw new SettingsError(`FAREBOX_ENGINE: the preset ${preset.name} names no upstream in served_by`);
  const engines = new Map<string, ServedModel>();
  let isLocalUsed = false;
  for (const model of models) {
    for (const quantization of upstreamVariants(model)) {
      const localEngine = local?.servedModel(model.id, quantization)?.engine ?? null;
      const members = membersOf(model, quantization, { environment, logger, localEngine });
      if (members.length === 0)
        throw new SettingsError(`FAREBOX_MODEL: nothing serves ${nameOf(model.id, quantization)} here but its local weights`);
      isLocalUsed ||= members.some(({ engine }) => engine === localEngine);
      engines.set(nameOf(model.id, quantization), {
        engine: failoverEngine({ engines: members, clock: systemClock, logger }),
        contextTokensMax: () => model.context_window,
      });
    }
  }
  if (local !== null && !isLocalUsed) throw new SettingsError(`FAREBOX_MODEL: ${settings.model} has no local_weights in its served_by`);
  return {
    engine: (engines.get(nameOf(first.id, upstreamVariants(first)[0] ?? null)) as ServedModel).engine,
    demoModel: first.id,
    servedModel: (model, quantization) => engines.get(nameOf(model, quantization)) ?? engines.get(model) ?? null,
    variantsOf: upstreamVariants,
    close: async () => {
      await Promise.all([...engines.values()].map(({ engine }) => engine.close()));
    },
  };
}

type Members = { readonly name: string; readonly engine: Engine }[];
type MembersContext = { readonly environment: Environment; readonly logger: Logger; readonly localEngine: Engine | null };

function membersOf(model: PresetModel, quantization: string | null, { environment, logger, localEngine }: MembersContext): Members {
  return (model.served_by ?? []).flatMap((entry): Members => {
    if (entry === 'local_weights') return localEngine === null ? [] : [{ name: entry, engine: localEngine }];
    if (entry.quantization !== undefined && entry.quantization !== quantization) return [];
    const asked = upstreamTarget(entry, environment);
    if (asked.status === 'refused') throw new SettingsError(asked.reason);
    const { target } = asked;
    return [
      { name: entry.name, engine: upstreamEngine({ target, contextTokens: model.context_window, scheduler: eventLoopScheduler, logger }) },
    ];
  });
}

/** Those that some server of the model is for; a server that names none is for all of them. */
function upstreamVariants({ variants, served_by: servers = [] }: PresetModel): readonly (string | null)[] {
  const areToldApart = servers.some((entry) => entry !== 'local_weights' && entry.quantization !== undefined);
  return variants === undefined || !areToldApart ? ANY_VARIANT : variants.map(({ quantization }) => quantization);
}
