/** What inference workers tell of themselves, so that no API waits for one that is gone and none takes work that nobody can do. */
import { z } from 'zod';

/** How often a worker says that it is there. */
export const WORKER_SEEN_EVERY_MS = 1_000;

/** A worker that has not been heard of for this long is lost: its runs are tried elsewhere. Several signs may be late, or one broker restart. */
export const WORKER_LOST_AFTER_MS = 6_000;

const id = z.string().min(1);
const engine = { contextTokens: z.number().int().positive(), systemFingerprint: id };

/** Worker to `WORKERS_TOPIC`, every `WORKER_SEEN_EVERY_MS` and once more when it leaves. Type `WorkerSeen`. */
export const WorkerSeenSchema = z.strictObject({
  /** Unique among all workers that ever were. */
  workerId: id,
  pool: id,
  /** `leaving`: it takes nothing new, and what it has will end. */
  status: z.enum(['loading', 'ready', 'leaving']),
  /** What live keys get here. */
  models: z.array(
    z.strictObject({ model: id, /** Of the model's variants; absent: whichever is asked for. */ quantization: id.optional(), ...engine }),
  ),
  /** What test keys get, whatever the model. */
  testEngine: z.strictObject(engine),
  /** Runs that it has, and can have at most. */
  runs: z.number().int().nonnegative(),
  runsMax: z.number().int().positive(),
});
export type WorkerSeen = z.infer<typeof WorkerSeenSchema>;

/** Names the `n`th piece of work of a worker. */
export function executionOf(workerId: string, n: number): string {
  return `${workerId}/${n}`;
}

/** The worker behind an execution; empty when there was none. */
export function workerOfExecution(execution: string): string {
  return execution.slice(0, Math.max(0, execution.lastIndexOf('/')));
}
