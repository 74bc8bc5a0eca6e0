/** Where a payer's browser may be sent after the payment: shown to the browser only, never fetched by us. */
import { refuse } from '../refusals.js';

export const REDIRECT_URL_CHARACTERS_MAX = 2_048;
const LOCAL_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

/** The address as browsers write it, or `null`. Throws a `RefusalError` for anything but https, or http on the payer's own machine. */
export function checkedRedirect(text: string | undefined, param: string): string | null {
  if (text === undefined) return null;
  const url = text.length <= REDIRECT_URL_CHARACTERS_MAX && URL.canParse(text) ? new URL(text) : null;
  const isSafe = url !== null && (url.protocol === 'https:' || (url.protocol === 'http:' && LOCAL_HOST.test(url.hostname)));
  if (!isSafe || url.username !== '' || url.password !== '' || url.href.length > REDIRECT_URL_CHARACTERS_MAX) {
    const message = `${param} must be an https URL (http on localhost) of at most ${REDIRECT_URL_CHARACTERS_MAX} characters, without credentials.`;
    throw refuse('invalid_value', { message, param });
  }
  return url.href;
}
