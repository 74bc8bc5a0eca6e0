/**
 * The API over real HTTP with everything but an engine: Postgres directory and read models, the real ledger over an in-memory store. The views
 * are filled by the tests, which is what lets them test a projector that lags.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { InProcessBus } from '../../../events/bus/in-process/in-process-bus.js';
import type { EventStore } from '../../../events/store/event-store.js';
import { createMemoryEventStore } from '../../../events/store/memory/memory-event-store.js';
import type { Clock } from '../../../platform/clock.js';
import { type IdSource, randomIdSource } from '../../../platform/id-source.js';
import { eventLoopScheduler } from '../../../platform/scheduler.js';
import { loadPreset } from '../../../presets/load-preset.js';
import type { Preset } from '../../../presets/preset-schema.js';
import { AccountLedger } from '../../ledger/accounts/account-ledger.js';
import { inProcessLedgerClient } from '../../ledger/in-process-ledger-client.js';
import type { LedgerClient } from '../../ledger/ledger-client.js';
import { memorySnapshotStore } from '../../ledger/snapshots/snapshot-store.js';
import { createApi } from '../app.js';
import { PostgresDirectory } from '../directory/postgres-directory.js';
import { PostgresReadModel } from '../read-model/postgres-read-model.js';
import type { ReceiptSigning } from '../verification/verification.js';
import { type ApiDatabase, openApiDatabase } from './api-database.js';
import { MemoryIdempotencyStore } from './memory-idempotency-store.js';

export const ADMIN_KEY = 'admin-key-of-the-tests';
export const PUBLIC_BASE_URL = 'https://farebox.example';

export class MovableClock implements Clock {
  timeMs: number;
  constructor(timeMs: number) {
    this.timeMs = timeMs;
  }
  nowMs(): number {
    return this.timeMs;
  }
}

/** An answer, read whole. */
export type Answer = {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely
  readonly body: any;
};

export type CallOptions = {
  readonly method?: string;
  readonly key?: string;
  readonly json?: unknown;
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
};

export type BooksApi = {
  readonly database: ApiDatabase;
  readonly directory: PostgresDirectory;
  readonly ledger: LedgerClient;
  /** The ledger itself, to end runs without a worker, and its log, to fill the views from. */
  readonly accountLedger: AccountLedger;
  readonly store: EventStore;
  readonly preset: Preset;
  readonly clock: MovableClock;
  readonly ids: IdSource;
  readonly routes: ReturnType<typeof createApi>['routes'];
  call(path: string, options?: CallOptions): Promise<Answer>;
  /** Signs up and returns ids and key. */
  signUp(name: string, environment?: 'live' | 'test'): Promise<{ readonly projectId: string; readonly key: string }>;
  close(): Promise<void>;
};

export type BooksApiOptions = {
  /** A bundled preset's name, or a preset. */
  readonly preset?: string | Preset;
  /** Instead of the real one, to let it fail. */
  readonly ledger?: LedgerClient;
  readonly receiptSigning?: ReceiptSigning;
};

export async function startBooksApi(options: BooksApiOptions = {}): Promise<BooksApi> {
  const database = await openApiDatabase();
  const preset = typeof options.preset === 'object' ? options.preset : loadPreset(options.preset ?? 'farebox');
  const clock = new MovableClock(Date.parse('2026-04-27T15:30:00Z'));
  const ids = randomIdSource(clock);
  const logger = pino({ level: 'silent' });
  const store = createMemoryEventStore();
  const accountLedger = new AccountLedger({ store, snapshots: memorySnapshotStore(), clock, scheduler: eventLoopScheduler, logger });
  const ledger = options.ledger ?? inProcessLedgerClient(accountLedger);
  const directory = new PostgresDirectory({ pool: database.pool, unusedExpiryDays: preset.api_keys.unused_expiry_days });
  const bus = new InProcessBus({ scheduler: eventLoopScheduler });
  const api = createApi({
    preset,
    ledger,
    bus,
    directory,
    idempotencyStore: new MemoryIdempotencyStore(),
    readModel: new PostgresReadModel({ pool: database.pool }),
    clock,
    ids,
    logger,
    metricsRegistry: new Registry(),
    adminKey: ADMIN_KEY,
    publicBaseUrl: PUBLIC_BASE_URL,
    instanceId: ids.next('ins'),
    readiness: async () => ({ ready: true, reasons: [] }),
    engineContext: () => null,
    receiptSigning: options.receiptSigning ?? null,
  });
  await api.start();
  const server = createServer(api.app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const call = (path: string, callOptions: CallOptions = {}) => sendCall(`${baseUrl}${path}`, callOptions);
  return {
    database,
    directory,
    ledger,
    accountLedger,
    store,
    preset,
    clock,
    ids,
    routes: api.routes,
    call,
    async signUp(name, environment = 'live') {
      const answer = await call('/v1/projects', { json: { name, environment } });
      if (answer.status !== 201) throw new Error(`sign-up failed: ${answer.text}`);
      return { projectId: answer.body.id, key: answer.body.api_key };
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await api.stop();
      await bus.close();
      await directory.close();
      await store.close();
      await database.close();
    },
  };
}

async function sendCall(url: string, options: CallOptions): Promise<Answer> {
  const content = options.text ?? (options.json === undefined ? undefined : JSON.stringify(options.json));
  const response = await fetch(url, {
    method: options.method ?? (content === undefined ? 'GET' : 'POST'),
    headers: {
      ...(options.key === undefined ? {} : { authorization: `Bearer ${options.key}` }),
      ...(content === undefined ? {} : { 'content-type': 'application/json' }),
      ...options.headers,
    },
    ...(content === undefined ? {} : { body: content }),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.startsWith('application/json') ?? false;
  return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : null };
}
