/** Reads what `farebox start` prints, as a person would: address, keys, and the line to paste. */
import type { Welcome } from './deployment.js';

/** Last line of the welcome; nothing of it comes later. */
const END = 'balances stay.';

/** `null` as long as the text is not whole. Throws when it is whole and something a newcomer needs is missing. */
export function readWelcome(text: string): Welcome | null {
  if (!text.includes(END)) return null;
  const baseUrl = /is ready at (\S+)\/v1$/m.exec(text)?.[1];
  const demoKey = /^ +demo key +(\S+)$/m.exec(text)?.[1];
  const adminKey = /^ +admin key +(\S+)$/m.exec(text)?.[1] ?? null;
  const curlLine = /^curl (?:.*\\\n)*.*$/m.exec(text)?.[0];
  if (baseUrl === undefined || demoKey === undefined || curlLine === undefined) throw new Error(`this is no welcome:\n${text}`);
  return { text, baseUrl, demoKey, adminKey, curlLine };
}
