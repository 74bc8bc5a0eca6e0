/** Waits for a condition instead of sleeping: a test is as fast as what it waits for, and says what never came. */
import { setTimeout as delay } from 'node:timers/promises';

/** Long enough for a busy machine; a test that gets here has failed. */
export const WAIT_TIMEOUT_DEFAULT_MS = 15_000;
const RECHECK_MS = 5;

export type WaitForOptions = {
  readonly timeoutMs?: number;
  /** What is awaited, for the message of a timeout; may report what is there instead. */
  readonly describe?: string | (() => string);
};

/**
 * Resolves with the first truthy answer of `condition`. Rejects with what was awaited after `timeoutMs`; a condition that throws rejects
 * at once.
 */
export async function waitFor<Answer>(
  condition: () => Answer | Promise<Answer>,
  options: WaitForOptions = {},
): Promise<Exclude<Answer, false | null | undefined | 0 | ''>> {
  const timeoutMs = options.timeoutMs ?? WAIT_TIMEOUT_DEFAULT_MS;
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const answer = await condition();
    if (answer) return answer as Exclude<Answer, false | null | undefined | 0 | ''>;
    if (performance.now() >= deadlineMs) {
      const what = typeof options.describe === 'function' ? options.describe() : (options.describe ?? 'the condition');
      throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    }
    await delay(RECHECK_MS);
  }
}
