/** How amounts and times leave the API: decimal strings, exact to the nano, and ISO 8601 in UTC. */
import { formatAmount, type Nanos } from '../../../events/contract/index.js';

/** Unit of the presets that sell credits. Those documents show credits as JSON numbers, so numbers are added beside the exact strings. */
const CREDIT_UNIT = 'credit';

/** `{[field]: 42}` where the unit is credits, `{}` otherwise. The exact amount is always in the string beside it. */
export function creditsField<Field extends string>(field: Field, nanos: Nanos, unit: string): { readonly [Name in Field]?: number } {
  if (unit !== CREDIT_UNIT) return {};
  return { [field]: Number(formatAmount(nanos)) } as { readonly [Name in Field]?: number };
}

export function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

export function isoTimeOrNull(timeMs: number | null): string | null {
  return timeMs === null ? null : isoTime(timeMs);
}
