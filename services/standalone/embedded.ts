/**
 * The embedded deployment: every service in this process, wired over its own Postgres (or `DATABASE_URL`), the in-process bus and a child
 * process for llama.cpp. Resources are acquired in order here and released in reverse.
 */
import type { RequestListener } from 'node:http';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { InProcessBus } from '../../events/bus/in-process/in-process-bus.js';
import type { MessageBus } from '../../events/bus/message-bus.js';
import { ACCOUNT_EVENTS_TOPIC, DEFAULT_POOL } from '../../events/contract/index.js';
import type { Failpoints } from '../../events/failpoints.js';
import { startRelay } from '../../events/relay/relay.js';
import type { EventStore } from '../../events/store/event-store.js';
import { systemClock } from '../../platform/clock.js';
import { startHttpServer } from '../../platform/http-server.js';
import { randomIdSource } from '../../platform/id-source.js';
import { createMetrics } from '../../platform/metrics.js';
import { ANSWER_TIMEOUT_SERVING_MS } from '../../platform/postgres/pool.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import type { Environment } from '../../platform/settings.js';
import { createShutdown } from '../../platform/shutdown.js';
import { loadPreset } from '../../presets/load-preset.js';
import type { Preset } from '../../presets/preset-schema.js';
import { createApi } from '../api/app.js';
import { PostgresDirectory } from '../api/directory/postgres-directory.js';
import { PostgresIdempotencyStore } from '../api/idempotency/postgres-idempotency-store.js';
import { MediaStore } from '../api/media/media-store.js';
import { createPayments } from '../api/payments/create-payments.js';
import { reconcileRegularly } from '../api/payments/reconcile-regularly.js';
import { PostgresReadModel } from '../api/read-model/postgres-read-model.js';
import { makeReceiptSeed } from '../api/verification/receipt-keys.js';
import { receiptSigning } from '../api/verification/signing-settings.js';
import { type ServingEngines, startEngines } from '../inference/serving.js';
import { startTranscriber } from '../inference/whisper/start-transcriber.js';
import type { AccountLedger } from '../ledger/accounts/account-ledger.js';
import { inProcessLedgerClient } from '../ledger/in-process-ledger-client.js';
import { bookPayments } from '../ledger/payments/book-payments.js';
import { postgresOutstandingPayments } from '../ledger/payments/outstanding-payments.js';
import { paymentLedger } from '../ledger/payments/payment-ledger.js';
import { expireReservations, releaseInterruptedReservations } from '../ledger/reactors/expire-reservations.js';
import { startLedger } from '../ledger/start-ledger.js';
import { PROJECTOR_GROUP, type Projector, projectionCheckpoint, startProjector } from '../projector/projector.js';
import { makeAdminKey, openDataDirectory } from './data-directory.js';
import { openDatabase } from './database.js';
import { demoProjectKey } from './demo-project.js';
import type { Settings } from './settings.js';

/** Relayed events that wait for the projection; each is about a kilobyte. */
const RELAYED_EVENTS_WAITING_MAX = 20_000;

/** Requests under way get this long to end after a signal. */
export const DRAIN_MS_MAX = 10_000;

/** Connections that are still open when the requests have drained, or could not, are closed after this. */
const STRAGGLERS_MS_MAX = 500;

/** The bus, and whoever reads what the worker says, live and end with it. */
const EMBEDDED_WORKER = 'embedded';

/** The views have this long to catch up with the store at a start; a longer log takes `farebox rebuild`. */
const CATCH_UP_POLL_MS = 10;

export type EmbeddedOptions = {
  readonly settings: Settings;
  /** Where upstreams' keys are. */
  readonly environment: Environment;
  readonly logger: Logger;
  readonly failpoints: Failpoints | null;
  /** Told what a start is waiting for, for people to read. */
  readonly onProgress?: (step: string) => void;
};

export type Embedded = {
  readonly baseUrl: string;
  readonly preset: Preset;
  readonly adminKey: string;
  /** Whether the key was made here rather than given by the operator. */
  readonly isAdminKeyMade: boolean;
  readonly demoKey: string | null;
  readonly engines: ServingEngines;
  /** For tests and benchmarks that look behind the API. */
  readonly internals: {
    readonly pool: Pool;
    readonly store: EventStore;
    readonly ledger: AccountLedger;
    readonly projector: Projector;
    readonly metrics: Registry;
  };
  /** Drains requests, then releases everything. */
  stop(): Promise<void>;
};

export async function startEmbedded({
  settings,
  environment,
  logger,
  failpoints,
  onProgress = () => {},
}: EmbeddedOptions): Promise<Embedded> {
  const startedMs = systemClock.nowMs();
  const shutdown = createShutdown(logger);
  try {
    const preset = loadPreset(settings.preset);
    const dataDirectory = openDataDirectory(settings.dataDirectory);
    const metrics = createMetrics();

    onProgress(settings.databaseUrl === undefined ? 'starting Postgres' : 'connecting to Postgres');
    const database = await openDatabase({
      dataDirectory: dataDirectory.path,
      databaseUrl: settings.databaseUrl,
      logger,
      answerTimeoutMs: ANSWER_TIMEOUT_SERVING_MS,
    });
    shutdown.push('database', () => database.close());
    await database.claim();
    const { pool } = database;
    const store = failpoints?.wrapStore(database.store) ?? database.store;

    const inProcessBus = new InProcessBus({
      scheduler: eventLoopScheduler,
      // The relay waits at this bound; the store holds the events anyway.
      queueMax: (topic) => (topic === ACCOUNT_EVENTS_TOPIC ? RELAYED_EVENTS_WAITING_MAX : undefined),
    });
    shutdown.push('bus', () => inProcessBus.close());
    const bus: MessageBus = failpoints?.wrapBus(inProcessBus) ?? inProcessBus;

    const appliedListeners = new Set<() => void>();
    const projector = await startProjector({
      pool,
      bus,
      clock: systemClock,
      logger,
      metrics,
      waitingEvents: () => inProcessBus.waiting(ACCOUNT_EVENTS_TOPIC, PROJECTOR_GROUP),
      onApplied: () => {
        failpoints?.pass('projector.page.after');
        for (const listener of [...appliedListeners]) listener();
      },
    });
    shutdown.push('projector', () => projector.stop());
    // The bus forgets at a restart, so the relay resumes from what the views have durably taken.
    const checkpoints = { load: () => projectionCheckpoint(pool), save: () => Promise.resolve() };
    const relay = await startRelay({
      store,
      bus,
      checkpoints,
      scheduler: eventLoopScheduler,
      onError: (error) => logger.warn({ err: error }, 'relay failed, will try again'),
    });
    shutdown.push('relay', () => relay.stop());

    const { ledger, expiry } = await startLedger({ store, bus, pool, logger, metrics, push: shutdown.push });
    onProgress('releasing what an earlier run left behind');
    const viewCaughtUp = () => caughtUp(projector, store);
    const released = await releaseInterruptedReservations(expiry, startedMs, viewCaughtUp);
    if (released > 0) logger.warn({ released }, 'holds of interrupted runs released');
    const expiring = expireReservations(expiry);
    shutdown.push('expire-reservations', () => expiring.stop());

    onProgress('loading the engine');
    const mediaStore = new MediaStore({ clock: systemClock });
    const transcriber = await startTranscriber({ settings, preset, logger });
    const engines = await startEngines({
      settings,
      mediaSource: mediaStore.source,
      ...(transcriber === null ? {} : { transcriber }),
      preset,
      environment,
      bus,
      pools: poolsServed(preset, settings.pool),
      workerId: EMBEDDED_WORKER,
      logger,
      metrics,
    });
    shutdown.push('engines', () => engines.stop());

    const ids = randomIdSource(systemClock);
    const directory = new PostgresDirectory({
      pool,
      unusedExpiryDays: preset.api_keys.unused_expiry_days,
      onError: (error) => logger.warn({ err: error }, 'uses of keys not noted'),
    });
    shutdown.push('directory', () => directory.close());
    const ledgerClient = inProcessLedgerClient(ledger);
    const { clock, scheduler } = expiry;
    const paymentsClient = paymentLedger({ store, ledger: ledgerClient, clock, logger });
    const booking = bookPayments({ payments: paymentsClient, outstanding: postgresOutstandingPayments(pool), clock, scheduler, logger });
    shutdown.push('book-payments', () => booking.stop());
    const idempotencyStore = new PostgresIdempotencyStore(pool);
    // `database.claim` has made sure that nobody else is at work on it.
    await idempotencyStore.endLeases();
    const isAdminKeyMade = settings.adminKey === undefined;
    const adminKey = settings.adminKey ?? dataDirectory.secret('admin-key', makeAdminKey);
    // Bound before the API is made: checkout links carry the port, also when the system chose it.
    const entrance: { handler: RequestListener } = { handler: refuseWhileStarting };
    const server = await startHttpServer({
      handler: (request, response) => entrance.handler(request, response),
      host: settings.host,
      port: settings.port,
    });
    shutdown.push('http server', () => server.stop(STRAGGLERS_MS_MAX));
    const baseUrl = `http://${printableHost(settings.host)}:${server.port}`;
    const signing = await receiptSigning(settings.receipts, () => dataDirectory.secret('receipt-key', makeReceiptSeed));
    const publicBaseUrl = settings.publicUrl ?? baseUrl;
    const payments = await createPayments({ settings: settings.payments, payments: paymentsClient, pool, clock, publicBaseUrl });
    if (payments !== null) {
      const reconciling = reconcileRegularly({ ...payments, pool, clock, scheduler, logger });
      shutdown.push('reconcile-payments', () => reconciling.stop());
    }
    const api = createApi({
      preset,
      mediaStore,
      payments,
      ledger: ledgerClient,
      bus,
      directory,
      idempotencyStore,
      readModel: new PostgresReadModel({
        pool,
        onApplied: (applied) => {
          appliedListeners.add(applied);
          return () => void appliedListeners.delete(applied);
        },
      }),
      clock: systemClock,
      ids,
      logger,
      metricsRegistry: metrics,
      adminKey,
      publicBaseUrl,
      instanceId: ids.next('ins'),
      receiptSigning: signing,
      readiness: () => readinessOf({ store, bus, engines }),
      engineContext: engines.contextOf,
      transport: settings.transport,
    });
    await api.start();
    shutdown.push('api', () => api.stop());

    const demoKey = await demoProjectKey({ directory, ledger: ledgerClient, preset, clock: systemClock, ids, dataDirectory });
    entrance.handler = api.app;
    shutdown.push('requests under way', () => api.drain(DRAIN_MS_MAX));
    return {
      baseUrl,
      preset,
      adminKey,
      isAdminKeyMade,
      demoKey,
      engines,
      internals: { pool, store, ledger, projector, metrics },
      stop: () => shutdown.run(),
    };
  } catch (error) {
    await shutdown.run();
    throw error;
  }
}

/** One machine stands in for every pool that the preset names, unless it is told which one it is. */
function poolsServed({ pools }: Preset, own: string | undefined): readonly [string, ...string[]] {
  if (own !== undefined) return [own];
  const [first, ...others] = pools.map(({ id }) => id);
  return first === undefined ? [DEFAULT_POOL] : [first, ...others];
}

async function caughtUp(projector: Projector, store: EventStore): Promise<void> {
  const head = await store.head();
  while (projector.position() < head) await new Promise((resolve) => setTimeout(resolve, CATCH_UP_POLL_MS));
}

type ServingParts = {
  readonly store: EventStore;
  readonly bus: MessageBus;
  readonly engines: ServingEngines;
};

/** Whether a request would be served. Views that stand still keep nobody out, since no admission reads them: the lag gauges tell. */
async function readinessOf(parts: ServingParts) {
  const reasons: string[] = [];
  if (!(await parts.store.isReady())) reasons.push('the event store cannot be written');
  if (!(await parts.bus.isReady())) reasons.push('the bus is closed');
  const { live } = parts.engines;
  const state = live.state();
  if (state.status === 'loading') reasons.push(`the model is loading (${Math.round(state.progress * 100)} %)`);
  if (state.status === 'failed') reasons.push(`the engine has failed: ${state.reason}`);
  return { ready: reasons.length === 0, reasons };
}

/** Answers whoever is there before the API is. */
const refuseWhileStarting: RequestListener = (_request, response) => {
  response.writeHead(503, { 'retry-after': '1' });
  response.end();
};

/** What people and SDKs can connect to: a wildcard address is no destination. */
function printableHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}
