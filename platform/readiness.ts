/** Whether a process would serve, and why not. */
import { within } from './within.js';

export type Readiness = { readonly ready: boolean; readonly reasons: readonly string[] };

/** A check that hangs is a check that failed. */
const READINESS_MS_MAX = 2_000;

/** Never rejects, and takes no longer than a probe waits. */
export async function checkReadiness(check: () => Promise<Readiness>): Promise<Readiness> {
  try {
    return await within(READINESS_MS_MAX, check());
  } catch (error) {
    return { ready: false, reasons: [error instanceof Error ? error.message : String(error)] };
  }
}
