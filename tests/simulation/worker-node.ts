/** One worker: the real loop over a simulated engine. */
import { Registry } from 'prom-client';
import type { MessageBus } from '../../events/bus/message-bus.js';
import { DEFAULT_POOL } from '../../events/contract/index.js';
import { startWorker, type Worker } from '../../services/inference/worker.js';
import { workerMetrics } from '../../services/inference/worker-metrics.js';
import { SimulatedEngine } from './simulated-engine.js';
import type { Actor } from './timeline.js';
import type { World } from './world.js';

/** Counters are not what is examined here, so all histories share them. */
const metrics = workerMetrics(new Registry());

export type WorkerNode = {
  /** Runs in the loop's or the engine's hands. */
  readonly unfinished: () => number;
};

export function startWorkerNode(world: World, actor: Actor, bus: MessageBus): WorkerNode {
  const { clock, scheduler } = actor;
  const engine = new SimulatedEngine(world, actor);
  let worker: Worker | null = null;
  startWorker({
    bus,
    pool: DEFAULT_POOL,
    workerId: actor.name,
    engineFor: () => engine,
    clock,
    scheduler,
    logger: world.logger,
    metrics,
  }).then(
    (started) => {
      worker = started;
    },
    (error: unknown) => world.onUnexpected(error),
  );
  return { unfinished: () => engine.load().active + (worker?.runsInFlight ?? 0) };
}
