/** Releases what was acquired, in reverse, each step within a bound, whatever fails on the way. */
import type { Logger } from 'pino';
import { within } from './within.js';

/** A releaser that takes longer is left behind, so that one stuck resource does not keep the others open. */
export const RELEASE_TIMEOUT_MS = 15_000;

export type Shutdown = {
  /** `release` runs before everything pushed earlier. */
  push(name: string, release: () => Promise<unknown> | unknown): void;
  /** Unwinds once; further calls wait for the same unwinding. */
  run(): Promise<void>;
};

export function createShutdown(logger: Logger, timeoutMs = RELEASE_TIMEOUT_MS): Shutdown {
  const releasers: { readonly name: string; readonly release: () => Promise<unknown> | unknown }[] = [];
  let unwinding: Promise<void> | null = null;
  const unwind = async () => {
    for (let next = releasers.pop(); next !== undefined; next = releasers.pop()) {
      try {
        await within(timeoutMs, Promise.resolve(next.release()));
      } catch (error) {
        logger.warn({ err: error, resource: next.name }, 'could not be released');
      }
    }
  };
  return {
    push: (name, release) => void releasers.push({ name, release }),
    run: () => {
      unwinding ??= unwind();
      return unwinding;
    },
  };
}

/** Runs `stop` on the first SIGINT or SIGTERM and exits; a second signal exits at once. */
export function onTerminationSignal(stop: (signal: NodeJS.Signals) => Promise<void>): void {
  let isStopping = false;
  const handle = (signal: NodeJS.Signals) => {
    if (isStopping) process.exit(130);
    isStopping = true;
    stop(signal).then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  process.on('SIGINT', handle);
  process.on('SIGTERM', handle);
}
