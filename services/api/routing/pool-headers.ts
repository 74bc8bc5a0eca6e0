/**
 * Reads `X-<Brand>-Pool` and `X-<Brand>-Pool-Fallback`. Only pools that the preset names exist; a pool that is pinned is never left unless the
 * request says `nearest`, since a client may have pinned it for where its texts may go.
 */
import type { IncomingMessage } from 'node:http';
import { headerBrand, type Preset, type PresetModel } from '../../../presets/preset-schema.js';
import { refuse } from '../refusals.js';
import { singleHeader } from '../request-headers.js';

const FALLBACKS = ['strict', 'nearest'] as const;
const SHOWN_CHARACTERS_MAX = 60;

export function poolHeaderName(preset: Pick<Preset, 'brand'>): string {
  return `X-${headerBrand(preset.brand)}-Pool`;
}

/** The pools to try, in order; `null` without the header: any. Throws a `RefusalError` for a pool that there is not, or not for this model. */
export function poolsWanted(
  request: IncomingMessage,
  preset: Pick<Preset, 'brand' | 'pools'>,
  model: Pick<PresetModel, 'id' | 'pools'>,
): readonly string[] | null {
  const name = poolHeaderName(preset);
  const pinned = singleHeader(request, name.toLowerCase(), name);
  const fallback = fallbackOf(request, `${name}-Fallback`);
  if (pinned === null) return null;
  const pool = preset.pools.find(({ id }) => id === pinned.toLowerCase());
  if (pool === undefined) throw noSuchPool(preset, name, pinned);
  const hasModel = (id: string) => model.pools?.includes(id) ?? true;
  const order = (fallback === 'strict' ? [pool.id] : [pool.id, ...pool.nearest]).filter(hasModel);
  if (order.length > 0) return order;
  throw refuse('invalid_value', {
    message: `The model "${model.id}" is not in the pool ${pool.id}; it is in ${model.pools?.join(', ')}.`,
    param: name,
  });
}

function fallbackOf(request: IncomingMessage, name: string): (typeof FALLBACKS)[number] {
  const asked = singleHeader(request, name.toLowerCase(), name);
  if (asked === null) return 'strict';
  const fallback = FALLBACKS.find((known) => known === asked.toLowerCase());
  if (fallback === undefined) throw refuse('invalid_value', { message: `${name} must be ${FALLBACKS.join(' or ')}.`, param: name });
  return fallback;
}

function noSuchPool({ pools }: Pick<Preset, 'pools'>, name: string, asked: string) {
  const known =
    pools.length === 0 ? 'There are no pools to choose from; leave the header out.' : `There are ${pools.map(({ id }) => id).join(', ')}.`;
  return refuse('invalid_value', { message: `There is no pool "${printable(asked)}". ${known}`, param: name });
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, SHOWN_CHARACTERS_MAX);
}
