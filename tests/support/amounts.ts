/** Amounts as the API writes them, added up exactly. */
import { formatAmount, parseAmount } from '../../events/contract/index.js';

/** Throws for what is no amount. */
export function nanos(amount: string): bigint {
  const parsed = parseAmount(amount);
  if (parsed === null) throw new Error(`${amount} is no amount`);
  return parsed;
}

/** A row of a usage report: counts, and what was charged as a decimal string. */
export type UsageRow = Readonly<Record<string, number | string>>;

/** The counts and charges of `rows`, added up column by column. */
export function sumOf(rows: readonly UsageRow[]): UsageRow {
  const sums: Record<string, number> = {};
  let chargedNanos = 0n;
  for (const row of rows) {
    for (const [name, value] of Object.entries(row)) if (typeof value === 'number') sums[name] = (sums[name] ?? 0) + value;
    chargedNanos += nanos(String(row['charged']));
  }
  return { ...sums, charged: formatAmount(chargedNanos) };
}
