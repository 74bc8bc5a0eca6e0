/** Wires the API of one instance: its routes, limits, replies and error dialect, around the ports it is given. */
import express from 'express';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { MessageBus } from '../../events/bus/message-bus.js';
import type { Clock } from '../../platform/clock.js';
import type { IdSource } from '../../platform/id-source.js';
import type { Readiness } from '../../platform/readiness.js';
import { eventLoopScheduler, type Scheduler } from '../../platform/scheduler.js';
import type { Preset } from '../../presets/preset-schema.js';
import type { LedgerClient } from '../ledger/ledger-client.js';
import { adminCheck } from './authenticate.js';
import type { Directory } from './directory/directory.js';
import { createErrorTable } from './error-table.js';
import type { IdempotencyStore } from './idempotency/idempotency-store.js';
import { Idempotency } from './idempotency/idempotent-run.js';
import type { Limiter } from './limits/limiter.js';
import { createRateLimitHeaders } from './limits/rate-limit-headers.js';
import { RateLimiter } from './limits/rate-limiter.js';
import { AudioDecoder } from './media/audio-decoder.js';
import { ByteBudget } from './media/byte-budget.js';
import { MediaStore } from './media/media-store.js';
import { ModelCatalogue } from './model-catalogue.js';
import type { Payments } from './payments/create-payments.js';
import { type Transport, transportCheck } from './plain-http.js';
import { LastRevisions } from './read-model/last-revisions.js';
import type { ReadModel } from './read-model/read-model.js';
import { RequestMetrics } from './request-metrics.js';
import type { RouteDefinition } from './route.js';

import { UPLOADS_BYTES_MAX } from './routes/audio-transcriptions/read-multipart.js';
import { allRoutes } from './routes/index.js';
import { unservedSurfaces } from './routes/unserved/unserved-surfaces.js';
import type { EngineContext } from './routing/engine-context.js';
import { Replies } from './runs/replies.js';
import { requestServer } from './serve-request.js';
import { type ReceiptSigning, Verification } from './verification/verification.js';

export type ApiDeps = {
  readonly preset: Preset;
  readonly ledger: LedgerClient;
  readonly bus: MessageBus;
  readonly directory: Directory;
  readonly idempotencyStore: IdempotencyStore;
  readonly readModel: ReadModel;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly logger: Logger;
  readonly metricsRegistry: Registry;
  /** Never empty. */
  readonly adminKey: string;
  /** Without a trailing slash; checkout links begin with it. */
  readonly publicBaseUrl: string;
  /** Unique among the instances that ever lived: it names the reply topic and owns idempotency claims. */
  readonly instanceId: string;
  readonly readiness: () => Promise<Readiness>;
  readonly engineContext: EngineContext;
  /** How requests may come in; the preset says it alone where this is left out. */
  readonly transport?: Transport;
  /** Who takes payments; absent or `null` where nobody does. */
  readonly payments?: Payments | null;
  /** A worker has taken a run of this instance. */
  readonly onWorkerMet?: (workerId: string) => void;
  /** Whether anybody in the pool takes work, or soon will; taken for granted where this is left out. */
  readonly hasWorkers?: (pool: string) => boolean;
  /** One that counts for this instance alone by default; instances beside each other share one. */
  readonly limiter?: Limiter;
  /** What receipts are signed with; without it nothing is verified, and answers say so. */
  readonly receiptSigning?: ReceiptSigning | null;
  /** Decoded audio, where somebody else must get at it too; one of its own by default. */
  readonly mediaStore?: MediaStore;
  /** Where workers in other processes get it; they are in this one by default. */
  readonly mediaUrl?: string;
  /** The event loop by default. */
  readonly scheduler?: Scheduler;
};

const PRESET_ALONE: Transport = { plainHttp: undefined, trustsProxy: false };

export type Api = {
  readonly app: express.Express;
  readonly routes: readonly RouteDefinition[];
  /** Exposed so that a simulation can drive the clock and observe what is waited for. */
  readonly replies: Replies;
  readonly limiter: Limiter;
  /** Subscribes to this instance's replies; before it resolves no run can be answered. */
  start(): Promise<void>;
  /** From here on new work is refused with 503; resolves when no request is under way, or after `waitMsMax`. */
  drain(waitMsMax: number): Promise<{ readonly drained: boolean }>;
  stop(): Promise<void>;
};

export function createApi(deps: ApiDeps): Api {
  const scheduler = deps.scheduler ?? eventLoopScheduler;
  const onTrouble = (message: string, error: unknown) => deps.logger.error({ err: error }, message);
  const limiter = deps.limiter ?? new RateLimiter(deps.preset, deps.clock);
  const errors = createErrorTable(deps.preset.errors);
  const replies = new Replies({
    bus: deps.bus,
    clock: deps.clock,
    scheduler,
    instanceId: deps.instanceId,
    onError: (error) => onTrouble('replies could not be handled', error),
    ...(deps.onWorkerMet === undefined ? {} : { onWorkerMet: deps.onWorkerMet }),
    ...(deps.hasWorkers === undefined ? {} : { hasWorkers: deps.hasWorkers }),
  });
  const idempotency = new Idempotency({
    ...deps,
    store: deps.idempotencyStore,
    retentionMs: deps.preset.policies.idempotency_window_seconds * 1_000,
    onTrouble,
  });
  replies.onTick((nowMs) => idempotency.onTick(nowMs));

  const models = new ModelCatalogue(deps.preset);
  const lastRevisions = new LastRevisions();
  const verification = new Verification({
    ledger: deps.ledger,
    signing: deps.receiptSigning ?? null,
    service: { name: deps.preset.brand.display_name, url: deps.publicBaseUrl },
    logger: deps.logger,
  });
  // What answers say of their verification goes where the rest of their style goes.
  const preset = { ...deps.preset, verificationMode: verification.mode };
  const audioDecoder = new AudioDecoder({ scheduler });
  const routes = allRoutes({
    ...deps,
    audioDecoder,
    mediaStore: deps.mediaStore ?? new MediaStore({ clock: deps.clock }),
    mediaUrl: deps.mediaUrl ?? null,
    uploads: new ByteBudget(UPLOADS_BYTES_MAX),
    preset,
    verification,
    models,
    lastRevisions,
    limiter,
    errors,
    replies,
    idempotency,
    scheduler,
    onTrouble,
  });
  const work = new WorkUnderWay();
  const serve = requestServer(
    {
      ...deps,
      limiter,
      errors,
      rateLimitHeaders: createRateLimitHeaders(deps.preset.limits.headers, limiter),
      checkAdmin: adminCheck(deps.adminKey),
      checkTransport: transportCheck(deps.transport ?? PRESET_ALONE, deps.preset.policies.https_only),
      unserved: unservedSurfaces(models, deps.preset.unprefixed_routes),
      hasUnprefixedRoutes: deps.preset.unprefixed_routes,
      metrics: new RequestMetrics(deps.metricsRegistry, () => replies.runsInFlight),
      isDraining: () => work.isDraining,
    },
    routes,
  );

  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.use((request, response) => work.track(serve(request, response)));
  return {
    app,
    routes,
    replies,
    limiter,
    start: () => replies.start(),
    drain: (waitMsMax) => work.drain(waitMsMax, scheduler),
    stop: async () => {
      await replies.stop();
      await audioDecoder.close();
    },
  };
}

/** Counts requests under way, so that a shutdown can wait for them. */
class WorkUnderWay {
  isDraining = false;
  #count = 0;
  #onIdle: (() => void) | null = null;

  async track(request: Promise<void>): Promise<void> {
    this.#count += 1;
    try {
      await request;
    } finally {
      this.#count -= 1;
      if (this.#count === 0) this.#onIdle?.();
    }
  }

  async drain(waitMsMax: number, scheduler: Scheduler): Promise<{ readonly drained: boolean }> {
    this.isDraining = true;
    if (this.#count === 0) return { drained: true };
    return new Promise((resolve) => {
      const callOff = scheduler.delay(() => resolve({ drained: false }), waitMsMax);
      this.#onIdle = () => {
        callOff();
        resolve({ drained: true });
      };
    });
  }
}
