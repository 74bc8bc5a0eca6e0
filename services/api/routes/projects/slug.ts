/** Makes slugs from names. */
import { SLUG_CHARACTERS_MAX } from './schemas.js';

/** Room for a hyphen and a suffix that tells two projects of one name apart. */
const SUFFIX_CHARACTERS = 7;

/** `Support Bot (EU)` is `support-bot-eu`; a name without a single usable character is `project`. */
export function slugOf(name: string): string {
  const ascii = name.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();
  const hyphened = ascii.replace(/[^a-z0-9]+/g, '-').slice(0, SLUG_CHARACTERS_MAX - SUFFIX_CHARACTERS);
  const trimmed = hyphened.replace(/^-|-$/g, '');
  return trimmed === '' ? 'project' : trimmed;
}

/** The slug with the last characters of the project's own id, which are random. */
export function distinctSlugOf(name: string, projectId: string): string {
  return `${slugOf(name)}-${projectId.slice(-(SUFFIX_CHARACTERS - 1))}`;
}
