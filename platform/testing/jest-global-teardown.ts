/** Ends the server that `jest-global-setup.ts` started, if it did. */
import './jest-global-setup.js';

export default async function stopTestServer(): Promise<void> {
  await globalThis.fareboxTestServer?.stop();
}
