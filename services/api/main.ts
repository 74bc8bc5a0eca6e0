/**
 * One API instance of the distributed deployment. It holds no state that another could not do without: keys, claims and views are in Postgres,
 * credit is the ledger's, and its replies have a topic of their own.
 */
import type { RequestListener } from 'node:http';
import { z } from 'zod';
import { createKafkaBus, kafkaSettingsFromEnvironment } from '../../events/bus/kafka/kafka-bus.js';
import { ensureTopic, removeTopic, repliesTopicPlan } from '../../events/bus/kafka/topics.js';
import { failpointsFrom } from '../../events/failpoints.js';
import { systemClock } from '../../platform/clock.js';
import { startHttpServer } from '../../platform/http-server.js';
import { randomIdSource } from '../../platform/id-source.js';
import { packageFile } from '../../platform/package-root.js';
import { migrate } from '../../platform/postgres/migrate.js';
import { ANSWER_TIMEOUT_SERVING_MS, createPostgresPool } from '../../platform/postgres/pool.js';
import { runService } from '../../platform/run-service.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { adminKeyText, portText, postgresUrl, readEnvironment, SERVER_SETTINGS, setting } from '../../platform/settings.js';
import { loadPreset } from '../../presets/load-preset.js';
import { httpLedgerClient } from '../ledger/http/http-ledger-client.js';
import { ledgerSecretText, ledgerUrls } from '../ledger/http/wire.js';
import { createApi } from './app.js';
import { PostgresDirectory } from './directory/postgres-directory.js';
import { PostgresIdempotencyStore } from './idempotency/postgres-idempotency-store.js';
import { COUNTING_MS_MAX, PostgresLimiter } from './limits/postgres-limiter.js';
import { MEDIA_SERVICE_SETTINGS, mediaServiceOf } from './media/media-service.js';
import { createPayments } from './payments/create-payments.js';
import { PAYMENT_SETTINGS, paymentSettingsOf } from './payments/payment-settings.js';
import { reconcileRegularly } from './payments/reconcile-regularly.js';
import { TRANSPORT_SETTINGS, transportOf } from './plain-http.js';
import { PostgresReadModel } from './read-model/postgres-read-model.js';
import { BusWatch } from './runs/bus-watch.js';
import { WorkerWatch } from './runs/worker-watch.js';
import { receiptSigning, SIGNING_SETTINGS } from './verification/signing-settings.js';

const SettingsSchema = z.object({
  ...SERVER_SETTINGS,
  ...TRANSPORT_SETTINGS,
  PORT: portText(8080),
  DATABASE_URL: postgresUrl,
  FAREBOX_PRESET: setting(z.string().default('farebox')),
  FAREBOX_PUBLIC_URL: setting(z.url({ protocol: /^https?$/ }).optional()),
  FAREBOX_ADMIN_KEY: adminKeyText,
  FAREBOX_LEDGER_SECRET: ledgerSecretText,
  ...MEDIA_SERVICE_SETTINGS,
  ...SIGNING_SETTINGS,
  ...PAYMENT_SETTINGS,
  LEDGER_URLS: ledgerUrls,
});

const CONNECTIONS_MAX = 12;
/** Limits are counted by one statement at a time; the second connection is for what is swept meanwhile. */
const LIMITER_CONNECTIONS_MAX = 2;
/** Requests under way get this long to end after a signal. */
const DRAIN_MS_MAX = 12_000;
/** Connections that are still open then are closed after this. */
const STRAGGLERS_MS_MAX = 500;

await runService('api', async ({ environment, logger, metrics, shutdown }) => {
  const settings = readEnvironment(SettingsSchema, environment);
  const kafka = kafkaSettingsFromEnvironment(environment, 'farebox-api');
  const preset = loadPreset(settings.FAREBOX_PRESET);
  const ids = randomIdSource(systemClock);
  const instanceId = ids.next('ins');
  const pool = createPostgresPool({
    connectionString: settings.DATABASE_URL,
    connectionsMax: CONNECTIONS_MAX,
    applicationName: 'farebox-api',
    logger,
    answerTimeoutMs: ANSWER_TIMEOUT_SERVING_MS,
  });
  shutdown.push('pool', () => pool.end());
  await migrate({ pool, logger, sources: [{ owner: 'api', folder: packageFile('services/api/migrations/') }] });

  const replies = repliesTopicPlan(instanceId);
  await ensureTopic({ settings: kafka, plan: replies, logger });
  shutdown.push('reply topic', () => removeTopic({ settings: kafka, topic: replies.topic, logger }));
  const failpoints = failpointsFrom(environment);
  const kafkaBus = createKafkaBus({ settings: kafka, logger });
  const bus = failpoints?.wrapBus(kafkaBus) ?? kafkaBus;
  shutdown.push('bus', () => bus.close());

  const ledger = httpLedgerClient({ instances: settings.LEDGER_URLS, secret: settings.FAREBOX_LEDGER_SECRET, logger });
  const onError = (error: unknown) => logger.error({ err: error }, 'news of workers could not be handled');
  const workers = new WorkerWatch({
    bus,
    clock: systemClock,
    instanceId,
    onError,
    onLost: (workerId) => {
      logger.warn({ workerId }, 'worker lost');
      api.replies.workerLost(workerId);
    },
  });
  const busWatch = new BusWatch(bus, logger);
  shutdown.push('bus watch', async () => busWatch.stop());
  const directory = new PostgresDirectory({
    pool,
    unusedExpiryDays: preset.api_keys.unused_expiry_days,
    onError: (error) => logger.warn({ err: error }, 'uses of keys not noted'),
  });
  shutdown.push('directory', () => directory.close());

  const limiterPool = createPostgresPool({
    connectionString: settings.DATABASE_URL,
    connectionsMax: LIMITER_CONNECTIONS_MAX,
    applicationName: 'farebox-api-limits',
    logger,
    answerTimeoutMs: COUNTING_MS_MAX,
    statementTimeoutMs: COUNTING_MS_MAX,
    // A server that crashes may forget the counts of its last half second; waiting for the disk would cost every request more than that is worth.
    settings: { synchronous_commit: 'off' },
  });
  shutdown.push('limiter pool', () => limiterPool.end());
  const limiter = new PostgresLimiter({
    pool: limiterPool,
    offer: preset,
    instanceId,
    scheduler: eventLoopScheduler,
    onTrouble: (message, error) => logger.warn({ err: error }, message),
  });
  shutdown.push('limiter', () => limiter.stop());

  const entrance: { handler: RequestListener } = { handler: (_request, response) => void response.writeHead(503).end() };
  const server = await startHttpServer({
    handler: (request, response) => entrance.handler(request, response),
    host: settings.FAREBOX_HOST,
    port: settings.PORT,
  });
  shutdown.push('http server', () => server.stop(STRAGGLERS_MS_MAX));
  const signing = await receiptSigning(settings);
  if (signing === null) logger.warn('no FAREBOX_RECEIPT_KEY: requests get no receipts');
  const publicBaseUrl = settings.FAREBOX_PUBLIC_URL ?? `http://localhost:${server.port}`;
  const paymentParts = { payments: ledger, pool, clock: systemClock, publicBaseUrl };
  const payments = await createPayments({ settings: paymentSettingsOf(settings, 'none'), ...paymentParts });
  if (payments !== null) {
    const reconciling = reconcileRegularly({ ...payments, pool, clock: systemClock, scheduler: eventLoopScheduler, logger });
    shutdown.push('reconcile-payments', () => reconciling.stop());
  }
  const media = mediaServiceOf(settings, { host: settings.FAREBOX_HOST, port: server.port });
  const api = createApi({
    preset,
    ...(media === null ? {} : { mediaStore: media.store, mediaUrl: media.url }),
    payments,
    ledger,
    bus,
    directory,
    idempotencyStore: new PostgresIdempotencyStore(pool),
    readModel: new PostgresReadModel({ pool }),
    limiter,
    clock: systemClock,
    ids,
    logger,
    metricsRegistry: metrics,
    adminKey: settings.FAREBOX_ADMIN_KEY,
    publicBaseUrl,
    instanceId,
    receiptSigning: signing,
    readiness: async () => {
      const reasons: string[] = [];
      if (!(await bus.isReady())) reasons.push('the bus cannot be reached');
      if (!(await ledger.isReady())) reasons.push('no ledger instance is ready');
      if (workers.readyWorkers === 0) reasons.push('no inference worker is ready');
      await pool.query('select 1');
      return { ready: reasons.length === 0, reasons };
    },
    // Without the bus nothing could be run, so nothing is held.
    onWorkerMet: (workerId) => workers.met(workerId),
    hasWorkers: (pool) => workers.hasWorkers(pool),
    engineContext: (model, environmentOfKey, wanted) => (busWatch.isUp ? workers.contextOf(model, environmentOfKey, wanted) : null),
    transport: transportOf(settings),
  });
  api.replies.onTick((nowMs) => workers.onTick(nowMs));
  await workers.start();
  shutdown.push('worker watch', () => workers.stop());
  await api.start();
  shutdown.push('api', () => api.stop());
  entrance.handler = media === null ? api.app : media.infrontOf(api.app);
  shutdown.push('requests under way', () => api.drain(DRAIN_MS_MAX));
  return server;
});
