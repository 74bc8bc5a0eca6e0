/** Reads `from` and `to` of a report: a date, a wall-clock time of the report's zone, or an instant. */
import type { ReportBoundary } from '../../read-model/read-model.js';

const DATE = /^\d{4}-\d{2}-\d{2}$/;
const WALL_CLOCK = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?$/;
const INSTANT = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)(Z|[+-]\d{2}:\d{2})$/;

/** Outside of these no books exist, and calendar arithmetic stays simple within. */
const YEAR_MIN = 1970;
const YEAR_MAX = 2999;

/**
 * `null` when the text is none of them. A date is the beginning of that day as `from` and its end as `to`: `from=2026-04-01&to=2026-04-27` has
 * 27 days.
 */
export function reportBoundary(text: string, end: 'from' | 'to'): ReportBoundary | null {
  // An unescaped + in a query arrives as a blank.
  const given = text.trim().replace(' ', '+');
  if (!isCalendarDate(given.slice(0, 10))) return null;
  if (DATE.test(given)) return { kind: 'local', text: `${end === 'to' ? dayAfter(given) : given}T00:00:00` };
  if (WALL_CLOCK.test(given)) return Number.isNaN(Date.parse(`${given}Z`)) ? null : { kind: 'local', text: given };
  if (!INSTANT.test(given)) return null;
  const instantMs = Date.parse(given);
  return Number.isNaN(instantMs) ? null : { kind: 'instant', text: new Date(instantMs).toISOString() };
}

/** Refuses the 30th of February, which `Date` would move into March. */
function isCalendarDate(text: string): boolean {
  if (!DATE.test(text)) return false;
  const year = Number(text.slice(0, 4));
  if (year < YEAR_MIN || year > YEAR_MAX) return false;
  const midnightMs = Date.parse(`${text}T00:00:00Z`);
  return !Number.isNaN(midnightMs) && new Date(midnightMs).toISOString().slice(0, 10) === text;
}

function dayAfter(date: string): string {
  return new Date(Date.parse(`${date}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10);
}
