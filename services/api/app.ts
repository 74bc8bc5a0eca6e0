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
import { createRateLimitHeaders } from './limits/rate-limit-headers.js';
import { RateLimiter } from './limits/rate-limiter.js';
import { ModelCatalogue } from './model-catalogue.js';
import { LastRevisions } from './read-model/last-revisions.js';
import type { ReadModel } from './read-model/read-model.js';
import { RequestMetrics } from './request-metrics.js';
import type { RouteDefinition } from './route.js';
import type { EngineContext } from './routes/chat-completions/plan-run.js';
import { allRoutes } from './routes/index.js';
import { Replies } from './runs/replies.js';
import { requestServer } from './serve-request.js';

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
  /** A worker has taken a run of this instance. */
  readonly onWorkerMet?: (workerId: string) => void;
  /** The event loop by default. */
  readonly scheduler?: Scheduler;
};

export type Api = {
  readonly app: express.Express;
  readonly routes: readonly RouteDefinition[];
  /** Exposed so that a simulation can drive the clock and observe what is waited for. */
  readonly replies: Replies;
  readonly limiter: RateLimiter;
  /** Subscribes to this instance's replies; before it resolves no run can be answered. */
  start(): Promise<void>;
  /** From here on new work is refused with 503; resolves when no request is under way, or after `waitMsMax`. */
  drain(waitMsMax: number): Promise<{ readonly drained: boolean }>;
  stop(): Promise<void>;
};

export function createApi(deps: ApiDeps): Api {
  const scheduler = deps.scheduler ?? eventLoopScheduler;
  const onTrouble = (message: string, error: unknown) => deps.logger.error({ err: error }, message);
  const limiter = new RateLimiter(deps.preset.limits, deps.clock);
  const errors = createErrorTable(deps.preset.errors);
  const replies = new Replies({
    bus: deps.bus,
    clock: deps.clock,
    scheduler,
    instanceId: deps.instanceId,
    onError: (error) => onTrouble('replies could not be handled', error),
    ...(deps.onWorkerMet === undefined ? {} : { onWorkerMet: deps.onWorkerMet }),
  });
  const idempotency = new Idempotency({ ...deps, store: deps.idempotencyStore, onTrouble });
  replies.onTick((nowMs) => idempotency.onTick(nowMs));

  const models = new ModelCatalogue(deps.preset);
  const lastRevisions = new LastRevisions();
  const routes = allRoutes({ ...deps, models, lastRevisions, limiter, errors, replies, idempotency, scheduler, onTrouble });
  const work = new WorkUnderWay();
  const serve = requestServer(
    {
      ...deps,
      limiter,
      errors,
      rateLimitHeaders: createRateLimitHeaders(deps.preset.limits, limiter, () => deps.clock.nowMs()),
      checkAdmin: adminCheck(deps.adminKey),
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
    stop: () => replies.stop(),
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
