/** How far the views are behind, as gauges that are computed when they are read: a projection that stands still shows a growing lag. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Position, RecordedEvent } from '../../events/contract/index.js';

export type ProjectionMetrics = {
  /** A page has been taken from the bus. A page that is delivered again begins again. */
  began(events: readonly RecordedEvent[]): void;
  /** Its rows are committed. `newEvents` does not count redelivered ones. */
  applied(newEvents: number, position: Position): void;
};

export function createProjectionMetrics(
  registry: Registry,
  options: { readonly nowMs: () => number; readonly waitingEvents: () => number },
): ProjectionMetrics {
  let oldestMs: number | null = null;
  let begunEvents = 0;
  const registers = [registry];
  new Gauge({
    name: 'farebox_projection_lag_seconds',
    help: 'Age of the oldest event that has reached the projector and is not in the views; 0 when there is none.',
    registers,
    collect() {
      this.set(oldestMs === null ? 0 : Math.max(0, options.nowMs() - oldestMs) / 1_000);
    },
  });
  new Gauge({
    name: 'farebox_projection_lag_events',
    help: 'Events that have reached the projector, or wait for it on the bus, and are not in the views.',
    registers,
    collect() {
      this.set(Math.max(begunEvents, options.waitingEvents()));
    },
  });
  const projected = new Counter({ name: 'farebox_projected_events_total', help: 'Events applied to the views.', registers });
  const last = new Gauge({
    name: 'farebox_projection_position',
    help: 'Always 1; the label is the position in the event store that the views have reached.',
    labelNames: ['position'],
    registers,
  });
  return {
    began(events) {
      begunEvents = events.length;
      oldestMs = events[0]?.metadata.occurredAtMs ?? null;
    },
    applied(newEvents, position) {
      begunEvents = 0;
      oldestMs = null;
      projected.inc(newEvents);
      last.reset();
      last.set({ position }, 1);
    },
  };
}
