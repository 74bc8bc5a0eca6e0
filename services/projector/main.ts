/** One projector of the distributed deployment: takes its share of the accounts' events from the bus and keeps the views in Postgres. */
import { z } from 'zod';
import { createKafkaBus, kafkaSettingsFromEnvironment } from '../../events/bus/kafka/kafka-bus.js';
import { failpointsFrom } from '../../events/failpoints.js';
import { systemClock } from '../../platform/clock.js';
import { startOperationsServer } from '../../platform/operations-server.js';
import { packageFile } from '../../platform/package-root.js';
import { migrate } from '../../platform/postgres/migrate.js';
import { createPostgresPool } from '../../platform/postgres/pool.js';
import { runService } from '../../platform/run-service.js';
import { portText, postgresUrl, readEnvironment, SERVER_SETTINGS } from '../../platform/settings.js';
import { startProjector } from './projector.js';

const SettingsSchema = z.object({ ...SERVER_SETTINGS, PORT: portText(8082), DATABASE_URL: postgresUrl });

const CONNECTIONS_MAX = 6;
const DRAIN_MS_MAX = 1_000;

await runService('projector', async ({ environment, logger, metrics, shutdown }) => {
  const settings = readEnvironment(SettingsSchema, environment);
  const kafka = kafkaSettingsFromEnvironment(environment, 'farebox-projector');
  const pool = createPostgresPool({
    connectionString: settings.DATABASE_URL,
    connectionsMax: CONNECTIONS_MAX,
    applicationName: 'farebox-projector',
    logger,
  });
  shutdown.push('pool', () => pool.end());
  await migrate({ pool, logger, sources: [{ owner: 'projector', folder: packageFile('services/projector/migrations/') }] });
  const failpoints = failpointsFrom(environment);
  const kafkaBus = createKafkaBus({ settings: kafka, logger });
  const bus = failpoints?.wrapBus(kafkaBus) ?? kafkaBus;
  shutdown.push('bus', () => bus.close());
  const projector = await startProjector({
    pool,
    bus,
    clock: systemClock,
    logger,
    metrics,
    onApplied: () => failpoints?.pass('projector.page.after'),
  });
  shutdown.push('projector', () => projector.stop());
  const server = await startOperationsServer({
    host: settings.FAREBOX_HOST,
    port: settings.PORT,
    metrics,
    logger,
    readiness: async () => {
      const reasons: string[] = [];
      if (!(await bus.isReady())) reasons.push('the bus cannot be reached');
      const failure = projector.failure();
      if (failure !== null) reasons.push(`the views stand still: ${failure.message}`);
      return { ready: reasons.length === 0, reasons };
    },
  });
  shutdown.push('http server', () => server.stop(DRAIN_MS_MAX));
  return server;
});
