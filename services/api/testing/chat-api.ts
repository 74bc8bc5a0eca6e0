/**
 * The request path over real HTTP with the real ledger, its settling reactor and the real in-process bus; only the store, the directory and the
 * idempotency keys live in memory, and a scripted worker stands for the engine.
 */
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { InProcessBus } from '../../../events/bus/in-process/in-process-bus.js';
import type { MessageBus } from '../../../events/bus/message-bus.js';
import { accountIdOf, DEFAULT_POOL, parseAmount } from '../../../events/contract/index.js';
import { createMemoryEventStore } from '../../../events/store/memory/memory-event-store.js';
import { type Clock, systemClock } from '../../../platform/clock.js';
import { randomIdSource } from '../../../platform/id-source.js';
import { eventLoopScheduler, type Scheduler } from '../../../platform/scheduler.js';
import { loadPreset } from '../../../presets/load-preset.js';
import type { Preset } from '../../../presets/preset-schema.js';
import { AccountLedger } from '../../ledger/accounts/account-ledger.js';
import { inProcessLedgerClient } from '../../ledger/in-process-ledger-client.js';
import type { LedgerClient } from '../../ledger/ledger-client.js';
import { settleFinishedRuns } from '../../ledger/reactors/settle-finished-runs.js';
import { memorySnapshotStore } from '../../ledger/snapshots/snapshot-store.js';
import { type Api, createApi } from '../app.js';
import { projectOpening } from '../directory/account-openings.js';
import { makeApiKeySecret } from '../directory/api-key-secret.js';
import type { IdempotencyStore } from '../idempotency/idempotency-store.js';
import type { Limiter } from '../limits/limiter.js';
import type { Transport } from '../plain-http.js';
import type { ReadModel } from '../read-model/read-model.js';
import type { EngineContext } from '../routing/engine-context.js';
import { MemoryDirectory } from './memory-directory.js';
import { MemoryIdempotencyStore } from './memory-idempotency-store.js';
import { ScriptedWorker } from './scripted-worker.js';

export const ADMIN_KEY = 'admin-key-of-the-tests';
export const PUBLIC_BASE_URL = 'https://farebox.example';
export const CONTEXT_TOKENS_MAX = 4_096;

export type ChatApiOptions = {
  readonly preset?: string | ((preset: Preset) => Preset);
  readonly clock?: Clock;
  /** The API's own; ledger and bus keep the event loop's. */
  readonly scheduler?: Scheduler;
  readonly wrapBus?: (bus: MessageBus) => MessageBus;
  readonly wrapLedger?: (ledger: LedgerClient) => LedgerClient;
  readonly idempotencyStore?: IdempotencyStore;
  readonly limiter?: Limiter;
  /** One that serves everything by default. */
  readonly engineContext?: EngineContext;
  readonly transport?: Transport;
  /** Where the scripted worker is. */
  readonly pools?: readonly string[];
  readonly readiness?: () => Promise<{ ready: boolean; reasons: string[] }>;
};

export type TestProject = { readonly projectId: string; readonly keyId: string; readonly key: string; readonly accountId: string };

export type Answer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely
  readonly body: any;
};

export type Call = {
  readonly method?: string;
  readonly key?: string | null;
  readonly json?: unknown;
  readonly raw?: string | Buffer;
  /** A list keeps duplicates apart. */
  readonly headers?: readonly (readonly [string, string])[];
};

/** No test of the request path reads a view. */
const unusedReadModel = new Proxy({} as ReadModel, {
  get: (_target, name) => () => Promise.reject(new Error(`the read model was asked for ${String(name)}`)),
});

export async function startChatApi(options: ChatApiOptions = {}) {
  const { preset: wanted = 'farebox' } = options;
  const preset = typeof wanted === 'string' ? loadPreset(wanted) : wanted(loadPreset('farebox'));
  const clock = options.clock ?? systemClock;
  const ids = randomIdSource(clock);
  const logger = pino({ level: 'silent' });
  const scheduler = eventLoopScheduler;
  const store = createMemoryEventStore();
  const realBus = new InProcessBus({ scheduler });
  const bus = options.wrapBus?.(realBus) ?? realBus;
  const accountLedger = new AccountLedger({ store, snapshots: memorySnapshotStore(), clock, scheduler, logger });
  const settling = await settleFinishedRuns({ bus: realBus, settle: (command) => accountLedger.submit(command), logger });
  const ledger = options.wrapLedger?.(inProcessLedgerClient(accountLedger)) ?? inProcessLedgerClient(accountLedger);
  const directory = new MemoryDirectory(preset.api_keys.unused_expiry_days);
  const worker = new ScriptedWorker(realBus, options.pools);
  await worker.start();
  const api = createApi({
    preset,
    ledger,
    bus,
    directory,
    idempotencyStore: options.idempotencyStore ?? new MemoryIdempotencyStore(),
    readModel: unusedReadModel,
    clock,
    ids,
    logger,
    metricsRegistry: new Registry(),
    adminKey: ADMIN_KEY,
    publicBaseUrl: PUBLIC_BASE_URL,
    instanceId: ids.next('ins'),
    ...(options.scheduler === undefined ? {} : { scheduler: options.scheduler }),
    ...(options.limiter === undefined ? {} : { limiter: options.limiter }),
    readiness: options.readiness ?? (async () => ({ ready: true, reasons: [] })),
    engineContext:
      options.engineContext ?? (() => ({ pool: DEFAULT_POOL, contextTokensMax: CONTEXT_TOKENS_MAX, systemFingerprint: 'fp_scripted' })),
    ...(options.transport === undefined ? {} : { transport: options.transport }),
  });
  await api.start();
  const server = createServer(api.app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const model = preset.models[0]?.id ?? '';

  /** Signs up with the preset's starter credit, or exactly `credit`. */
  async function signUp(credit?: string): Promise<TestProject> {
    const projectId = ids.next('prj');
    const keyId = ids.next('key');
    const environment = 'live' as const;
    const createdAtMs = clock.nowMs();
    await directory.createProject({ projectId, name: projectId, slug: projectId, environment, createdAtMs });
    const key = makeApiKeySecret(preset.api_keys.live_prefix);
    await directory.createKey({ keyId, projectId, name: 'test', environment, hint: '', createdAtMs }, key, preset.api_keys.active_max);
    const accountId = accountIdOf(projectId);
    const opening = projectOpening({ projectId, environment }, preset);
    const starterNanos = credit === undefined ? opening.starterNanos : (parseAmount(credit) ?? 0n);
    await ledger.openAccount({ accountId, opening: { ...opening, starterNanos } });
    return { projectId, keyId, key, accountId };
  }

  const project = await signUp();
  return {
    api,
    preset,
    ledger,
    directory,
    worker,
    project,
    model,
    baseUrl: `http://127.0.0.1:${port}`,
    port,
    signUp,
    /** With the default project's key unless told otherwise. */
    call: (path: string, call: Call = {}) => sendCall(port, path, { key: project.key, ...call }),
    chat: (body: Readonly<Record<string, unknown>> = {}, call: Call = {}) =>
      sendCall(port, '/v1/chat/completions', {
        key: project.key,
        json: { model, messages: [{ role: 'user', content: 'Hello there' }], ...body },
        ...call,
      }),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await api.stop();
      await settling.stop();
      await realBus.close();
      await store.close();
    },
  };
}
export type ChatApi = Awaited<ReturnType<typeof startChatApi>>;
export type { Api };

/** `node:http` instead of fetch: it sends duplicate headers and shows what was received as it came. */
function sendCall(port: number, path: string, call: Call): Promise<Answer> {
  const content = call.raw ?? (call.json === undefined ? undefined : JSON.stringify(call.json));
  const headers = [...(call.headers ?? [])].map(([name, value]) => [name, value] as [string, string]);
  if (call.key !== undefined && call.key !== null) headers.push(['Authorization', `Bearer ${call.key}`]);
  if (content !== undefined && !headers.some(([name]) => name.toLowerCase() === 'content-type'))
    headers.push(['Content-Type', 'application/json']);
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: '127.0.0.1', port, path, method: call.method ?? (content === undefined ? 'GET' : 'POST'), agent: false },
      (response) => {
        readWhole(response).then((text) => {
          const isJson = response.headers['content-type']?.startsWith('application/json') ?? false;
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, body: isJson ? JSON.parse(text) : null });
        }, reject);
      },
    );
    for (const name of new Set(headers.map(([name]) => name))) {
      const values = headers.filter(([other]) => other === name).map(([, value]) => value);
      request.setHeader(name, values.length === 1 ? (values[0] ?? '') : values);
    }
    request.on('error', reject);
    request.end(content);
  });
}

export async function readWhole(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/** The payloads of a stream's events, `[DONE]` included as text. */
export function eventsOf(text: string): unknown[] {
  return text
    .split('\n\n')
    .flatMap((event) => event.split('\n').filter((line) => line.startsWith('data: ')))
    .map((line) => (line === 'data: [DONE]' ? '[DONE]' : JSON.parse(line.slice('data: '.length))));
}
