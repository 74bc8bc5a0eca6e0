/** The frame of a service's process: log, metrics, settings' faults in words, a drain on the first signal. */
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { z } from 'zod';
import { createLogger } from './logging.js';
import { createMetrics } from './metrics.js';
import { type Environment, readEnvironment, SERVER_SETTINGS } from './settings.js';
import { createShutdown, onTerminationSignal, type Shutdown } from './shutdown.js';

export type ServiceContext = {
  readonly environment: Environment;
  readonly logger: Logger;
  readonly metrics: Registry;
  /** Unwound in reverse at the end, or when the start fails. */
  readonly shutdown: Shutdown;
};

/** Runs `start` and then until a signal. A start that fails is told on standard error, and ends the process with code 1. */
export async function runService(name: string, start: (context: ServiceContext) => Promise<{ readonly port: number }>): Promise<void> {
  try {
    const { LOG_LEVEL: level } = readEnvironment(z.object(SERVER_SETTINGS), process.env);
    const logger = createLogger({ level, name: `farebox-${name}` });
    const shutdown = createShutdown(logger);
    try {
      const { port } = await start({ environment: process.env, logger, metrics: createMetrics(), shutdown });
      process.stdout.write(`farebox ${name} listens on port ${port}\n`);
    } catch (error) {
      await shutdown.run();
      throw error;
    }
    onTerminationSignal(async () => {
      await shutdown.run();
      process.stdout.write(`farebox ${name} stopped\n`);
    });
  } catch (error) {
    process.stderr.write(`farebox ${name}: ${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
