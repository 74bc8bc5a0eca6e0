/** Accepts the names of time zones that JavaScript and Postgres read alike. */

const ZONE_CHARACTERS_MAX = 64;

/**
 * The canonical IANA name, or `null`. It is the canonical name that goes to Postgres: there `CET` would be a fixed offset, while the IANA zone of
 * that name has summer time. Offsets (`+02:00`) are refused, because Postgres reads their sign the other way round (POSIX).
 */
export function canonicalTimeZone(name: string): string | null {
  if (name.length > ZONE_CHARACTERS_MAX || !/^[A-Za-z]/.test(name)) return null;
  let canonical: string;
  try {
    canonical = new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone;
  } catch {
    return null;
  }
  return canonical === 'UTC' || canonical.includes('/') ? canonical : null;
}
