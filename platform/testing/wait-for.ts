/** Waits for conditions, so that no test has to sleep. */

/** How long a condition may take unless the test says otherwise. Generous: a slow machine is not a failure. */
const TIMEOUT_DEFAULT_MS = 15_000;

/** How often a condition is looked at. */
const POLL_MS = 5;

/** Resolves once `condition` holds; rejects with what was waited for when it does not in time. */
export async function waitFor(
  condition: () => boolean | Promise<boolean>,
  options: { readonly describe: string; readonly timeoutMs?: number },
): Promise<void> {
  const timeoutMs = options.timeoutMs ?? TIMEOUT_DEFAULT_MS;
  const startedMs = Date.now();
  while (!(await condition())) {
    if (Date.now() - startedMs > timeoutMs) throw new Error(`waited ${timeoutMs} ms in vain for ${options.describe}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
