/**
 * One ledger instance of the distributed deployment: serves the API's calls over internal HTTP, settles finished runs, expires holds, and
 * stands by to be the one relay. Any number of them may run; the expected revision is the fence.
 */
import { Gauge } from 'prom-client';
import { z } from 'zod';
import { createKafkaBus, kafkaSettingsFromEnvironment } from '../../events/bus/kafka/kafka-bus.js';
import { failpointsFrom } from '../../events/failpoints.js';
import { postgresCheckpoints } from '../../events/relay/postgres-checkpoints.js';
import { startRelay } from '../../events/relay/relay.js';
import type { EventStore } from '../../events/store/event-store.js';
import { eventStoreDbFromEnvironment } from '../../events/store/eventstoredb/connection-settings.js';
import { createEventStoreDbStore } from '../../events/store/eventstoredb/eventstoredb-store.js';
import { createPostgresEventStore } from '../../events/store/postgres/postgres-event-store.js';
import { startOperationsServer } from '../../platform/operations-server.js';
import { packageFile } from '../../platform/package-root.js';
import { standForLeadership } from '../../platform/postgres/leadership.js';
import { migrate } from '../../platform/postgres/migrate.js';
import { createPostgresPool } from '../../platform/postgres/pool.js';
import { runService } from '../../platform/run-service.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { portText, postgresUrl, readEnvironment, SERVER_SETTINGS, setting } from '../../platform/settings.js';
import { httpLedgerClient } from './http/http-ledger-client.js';
import { serveCalls } from './http/serve-calls.js';
import { settleWherePreferred } from './http/settle-where-preferred.js';
import { CALLS_PATH, ledgerSecretText, ledgerUrl, ledgerUrls } from './http/wire.js';
import { inProcessLedgerClient } from './in-process-ledger-client.js';
import { bookPayments } from './payments/book-payments.js';
import { postgresOutstandingPayments } from './payments/outstanding-payments.js';
import { paymentLedger } from './payments/payment-ledger.js';
import { expireReservations } from './reactors/expire-reservations.js';
import type { Settle } from './reactors/settle-finished-runs.js';
import { startLedger } from './start-ledger.js';

const SettingsSchema = z.object({
  ...SERVER_SETTINGS,
  PORT: portText(8081),
  DATABASE_URL: postgresUrl,
  FAREBOX_LEDGER_SECRET: ledgerSecretText,
  LEDGER_URLS: setting(ledgerUrls.optional()),
  FAREBOX_LEDGER_URL: setting(ledgerUrl.optional()),
});

const CONNECTIONS_MAX = 12;

/** Calls under way get this long to end after a signal; none takes longer than the ledger waits for its store. */
const DRAIN_MS_MAX = 6_000;

/** Advisory lock of the one relay. An arbitrary constant. */
const RELAY_LOCK = 7_120_420;

await runService('ledger', async ({ environment, logger, metrics, shutdown }) => {
  const settings = readEnvironment(SettingsSchema, environment);
  const kafka = kafkaSettingsFromEnvironment(environment, 'farebox-ledger');
  const eventStoreDb = eventStoreDbFromEnvironment(environment);
  const connectionString = settings.DATABASE_URL;
  const pool = createPostgresPool({ connectionString, connectionsMax: CONNECTIONS_MAX, applicationName: 'farebox-ledger', logger });
  shutdown.push('pool', () => pool.end());
  const owners = [
    ...(eventStoreDb === null ? [{ owner: 'event-store', folder: packageFile('events/store/postgres/migrations/') }] : []),
    { owner: 'ledger', folder: packageFile('services/ledger/migrations/') },
    { owner: 'relay', folder: packageFile('events/relay/migrations/') },
  ];
  await migrate({ pool, logger, sources: owners });
  const realStore: EventStore =
    eventStoreDb === null ? createPostgresEventStore({ pool, logger }) : createEventStoreDbStore({ ...eventStoreDb, logger });
  shutdown.push('event store', () => realStore.close());
  const failpoints = failpointsFrom(environment);
  const kafkaBus = createKafkaBus({ settings: kafka, logger });
  const bus = failpoints?.wrapBus(kafkaBus) ?? kafkaBus;
  const store = failpoints?.wrapStore(realStore) ?? realStore;
  shutdown.push('bus', () => bus.close());

  const peers =
    settings.LEDGER_URLS === undefined
      ? null
      : httpLedgerClient({ instances: settings.LEDGER_URLS, secret: settings.FAREBOX_LEDGER_SECRET, logger });
  const ownUrl = settings.FAREBOX_LEDGER_URL ?? null;
  const settlingThrough = (settleHere: Settle) => (peers === null ? settleHere : settleWherePreferred({ peers, ownUrl, settleHere }));
  const { ledger, expiry } = await startLedger({ store, bus, pool, logger, metrics, settlingThrough, push: shutdown.push });
  const expiring = expireReservations(expiry);
  shutdown.push('expire-reservations', () => expiring.stop());
  const { clock, scheduler } = expiry;
  const payments = paymentLedger({ store, ledger: inProcessLedgerClient(ledger), clock, logger });
  const booking = bookPayments({ payments, outstanding: postgresOutstandingPayments(pool), clock, scheduler, logger });
  shutdown.push('book-payments', () => booking.stop());

  const relayed = eventStoreDb === null ? 'postgres' : 'eventstoredb';
  const leadership = standForLeadership({
    connectionString,
    lock: RELAY_LOCK,
    name: 'farebox-relay',
    logger,
    lead: () =>
      startRelay({
        store,
        bus,
        checkpoints: postgresCheckpoints(pool, relayed),
        scheduler: eventLoopScheduler,
        onError: (error) => logger.warn({ err: error }, 'relay failed, will try again'),
      }),
  });
  shutdown.push('relay', () => leadership.stop());
  new Gauge({
    name: 'farebox_relay_leading',
    help: '1 in the one ledger that relays events to the bus; there should always be one.',
    registers: [metrics],
    collect() {
      this.set(leadership.isLeader ? 1 : 0);
    },
  });

  const server = await startOperationsServer({
    host: settings.FAREBOX_HOST,
    port: settings.PORT,
    metrics,
    logger,
    readiness: async () => {
      const reasons: string[] = [];
      if (!(await store.isReady())) reasons.push('the event store cannot be written');
      if (!(await bus.isReady())) reasons.push('the bus cannot be reached');
      return { ready: reasons.length === 0, reasons };
    },
    routes: {
      [`POST ${CALLS_PATH}`]: serveCalls({
        ledger: inProcessLedgerClient(ledger),
        payments,
        settle: (command) => ledger.submit(command),
        secret: settings.FAREBOX_LEDGER_SECRET,
        logger,
      }),
    },
  });
  shutdown.push('http server', () => server.stop(DRAIN_MS_MAX));
  return server;
});
