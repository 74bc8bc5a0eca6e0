/** `farebox rebuild` and `farebox verify`: the views made anew from the log, and held against it. */
import { eventStoreDbFromEnvironment } from '../../../events/store/eventstoredb/connection-settings.js';
import { createLogger } from '../../../platform/logging.js';
import { rebuildReadModel } from '../../projector/rebuild.js';
import { verifyReadModel } from '../../projector/verify.js';
import { type Database, openDatabase } from '../database.js';
import { readSettings } from '../settings.js';

/** Exit code of `verify` when the books and the log disagree. */
const EXIT_DISCREPANCY = 3;

export async function rebuild(environment: NodeJS.ProcessEnv): Promise<number> {
  return withDatabase(environment, async ({ pool, store }, logger) => {
    const { events, durationMs } = await rebuildReadModel({ pool, store, logger, nowMs: Date.now });
    const perSecond = Math.round((events / Math.max(durationMs, 1)) * 1_000);
    process.stdout.write(`rebuilt all views from ${events} events in ${durationMs} ms (${perSecond} events/s)\n`);
    return 0;
  });
}

export async function verify(environment: NodeJS.ProcessEnv): Promise<number> {
  return withDatabase(environment, async ({ pool, store }) => {
    const { events, linkedEvents, discrepancies } = await verifyReadModel(pool, store);
    for (const { check, view, log, words } of discrepancies) {
      process.stdout.write(`${words ?? `${check}: the view says ${view}, the log says ${log}`}\n`);
    }
    process.stdout.write(
      `${events} events checked, ${linkedEvents} of them by their account's hash chain, ${discrepancies.length} differences\n`,
    );
    return discrepancies.length === 0 ? 0 : EXIT_DISCREPANCY;
  });
}

/** With an own database the embedded server is started for the command, which needs Farebox to be stopped; `DATABASE_URL` needs nothing. */
async function withDatabase(
  environment: NodeJS.ProcessEnv,
  work: (database: Database, logger: ReturnType<typeof createLogger>) => Promise<number>,
): Promise<number> {
  const { logLevel, dataDirectory, databaseUrl } = readSettings(environment);
  const logger = createLogger({ level: logLevel, name: 'farebox' });
  const database = await openDatabase({ dataDirectory, databaseUrl, eventStoreDb: eventStoreDbFromEnvironment(environment), logger });
  try {
    return await work(database, logger);
  } finally {
    await database.close();
  }
}
