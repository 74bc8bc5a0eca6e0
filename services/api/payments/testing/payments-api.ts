/** The API over real HTTP and a real event store, taking payments through a provider's local server. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { InProcessBus } from '../../../../events/bus/in-process/in-process-bus.js';
import { accountIdOf, accountStream, decodeAccountEvent } from '../../../../events/contract/index.js';
import { createPostgresEventStore } from '../../../../events/store/postgres/postgres-event-store.js';
import type { Clock } from '../../../../platform/clock.js';
import { randomIdSource } from '../../../../platform/id-source.js';
import { packageFile } from '../../../../platform/package-root.js';
import { eventLoopScheduler } from '../../../../platform/scheduler.js';
import { createTestDatabase } from '../../../../platform/testing/postgres-for-tests.js';
import { loadPreset } from '../../../../presets/load-preset.js';
import { AccountLedger } from '../../../ledger/accounts/account-ledger.js';
import { inProcessLedgerClient } from '../../../ledger/in-process-ledger-client.js';
import { paymentLedger } from '../../../ledger/payments/payment-ledger.js';
import { memorySnapshotStore } from '../../../ledger/snapshots/snapshot-store.js';
import { applyLivePage } from '../../../projector/postgres/apply-page.js';
import { verifyReadModel } from '../../../projector/verify.js';
import { createApi } from '../../app.js';
import { PostgresDirectory } from '../../directory/postgres-directory.js';
import { PostgresReadModel } from '../../read-model/postgres-read-model.js';
import { MemoryIdempotencyStore } from '../../testing/memory-idempotency-store.js';
import { localProvider } from '../local-provider.js';
import type { PaymentProvider } from '../payment-provider.js';
import { postgresPaymentsView } from '../payments-view.js';
import { reconcilePayments } from '../reconcile-payments.js';

export const PUBLIC_BASE_URL = 'https://farebox.example';
const ADMIN_KEY = 'admin-key-of-the-payment-tests';
const DAY_MS = 24 * 60 * 60 * 1_000;

export type PaymentAnswer = {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely
  readonly body: any;
};

type CallOptions = {
  readonly key?: string;
  readonly json?: unknown;
  readonly text?: string;
  readonly form?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
};

export type PaymentsApiOptions = { readonly preset: 'huru' | 'farebox'; readonly provider: PaymentProvider | 'local' };

export async function startPaymentsApi({ preset: presetName, provider: chosen }: PaymentsApiOptions) {
  const database = await createTestDatabase({
    connectionsMax: 16,
    migrations: [
      { owner: 'event-store', folder: packageFile('events/store/postgres/migrations/') },
      { owner: 'projector', folder: packageFile('services/projector/migrations/') },
      { owner: 'api', folder: packageFile('services/api/migrations/') },
    ],
  });
  const { pool } = database;
  const logger = pino({ level: 'silent' });
  const preset = loadPreset(presetName);
  // Stripe refuses what was signed by another clock, so this one runs; tests move it.
  let aheadMs = 0;
  const clock: Clock = { nowMs: () => Date.now() + aheadMs };
  const ids = randomIdSource(clock);
  const store = createPostgresEventStore({ pool, logger });
  const newPayments = () => {
    const accounts = new AccountLedger({ store, snapshots: memorySnapshotStore(), clock, scheduler: eventLoopScheduler, logger });
    const ledger = inProcessLedgerClient(accounts);
    return { ledger, payments: paymentLedger({ store, ledger, clock, logger }) };
  };
  const { ledger, payments: client } = newPayments();
  const local = chosen === 'local' ? localProvider({ pool, clock, publicBaseUrl: PUBLIC_BASE_URL }) : null;
  const provider = local ?? (chosen as PaymentProvider);
  const payments = { provider, local, payments: client, view: postgresPaymentsView(pool) };
  const directory = new PostgresDirectory({ pool, unusedExpiryDays: preset.api_keys.unused_expiry_days });
  const bus = new InProcessBus({ scheduler: eventLoopScheduler });
  const api = createApi({
    preset,
    payments,
    ledger,
    bus,
    directory,
    idempotencyStore: new MemoryIdempotencyStore(),
    readModel: new PostgresReadModel({ pool }),
    clock,
    ids,
    logger,
    metricsRegistry: new Registry(),
    adminKey: ADMIN_KEY,
    publicBaseUrl: PUBLIC_BASE_URL,
    instanceId: ids.next('ins'),
    readiness: async () => ({ ready: true, reasons: [] }),
    engineContext: () => null,
  });
  await api.start();
  const server = createServer(api.app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  async function call(path: string, options: CallOptions = {}): Promise<PaymentAnswer> {
    const form = options.form === undefined ? undefined : new URLSearchParams(options.form).toString();
    const content = form ?? options.text ?? (options.json === undefined ? undefined : JSON.stringify(options.json));
    const response = await fetch(`${baseUrl}${path}`, {
      method: content === undefined ? 'GET' : 'POST',
      redirect: 'manual',
      headers: {
        ...(options.key === undefined ? {} : { authorization: `Bearer ${options.key}` }),
        ...(content === undefined ? {} : { 'content-type': form === undefined ? 'application/json' : 'application/x-www-form-urlencoded' }),
        ...options.headers,
      },
      ...(content === undefined ? {} : { body: content }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.startsWith('application/json') ?? false;
    return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : null };
  }

  /** Shows the views everything that the store holds. */
  async function project(): Promise<void> {
    const events = await store.readAll('', 5_000);
    await applyLivePage(pool, events);
  }

  return {
    baseUrl,
    preset,
    client,
    newPayments,
    provider,
    call,
    project,
    passTime(ms: number) {
      aheadMs += ms;
    },
    async signUp(name: string, environment: 'live' | 'test' = 'test'): Promise<{ projectId: string; key: string }> {
      const answer = await call('/v1/projects', { json: { name, environment } });
      if (answer.status !== 201) throw new Error(`sign-up failed: ${answer.text}`);
      return { projectId: answer.body.id, key: answer.body.api_key };
    },
    async consumer(projectId: string, email: string): Promise<string> {
      const consumerId = ids.next('con');
      await directory.findOrCreateConsumer({ projectId, consumerId, email, name: 'Jane Doe', nowMs: clock.nowMs() });
      return consumerId;
    },
    /** Top-ups and clawbacks of a project or consumer, in nanos. */
    async moneyOf(holderId: string): Promise<bigint[]> {
      const events = (await store.readStream(accountStream(accountIdOf(holderId)))).map(decodeAccountEvent);
      return events.flatMap((event) => (event.type === 'CreditGranted' && event.kind !== 'starter' ? [event.amountNanos] : []));
    },
    async reconcile() {
      await project();
      const toMs = clock.nowMs();
      return (await reconcilePayments(payments, { fromMs: toMs - DAY_MS, toMs })).findings.map(({ kind, reference }) => ({
        kind,
        reference,
      }));
    },
    async verify() {
      await project();
      return (await verifyReadModel(pool, store)).discrepancies;
    },
    pool,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await api.stop();
      await bus.close();
      await directory.close();
      await store.close();
      await database.drop();
    },
  };
}

export type PaymentsApi = Awaited<ReturnType<typeof startPaymentsApi>>;
