/** The process's Prometheus registry. */
import { collectDefaultMetrics, Registry } from 'prom-client';

/** A registry with the usual process metrics (CPU, memory, event-loop lag, GC) under Farebox's prefix. */
export function createMetrics(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'farebox_' });
  return registry;
}
