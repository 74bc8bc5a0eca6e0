/** Counts requests and measures their duration, by route and status. The series of a route are looked up once, not at every request. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { RouteDefinition } from './route.js';

/** Seconds; from a cached answer to the longest run. */
const DURATION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

type Series = { readonly count: Counter.Internal; readonly seconds: Histogram.Internal<string> };

export class RequestMetrics {
  readonly #count: Counter;
  readonly #seconds: Histogram;
  readonly #series = new Map<string, Series>();

  /** `runsInFlight` is read when the metrics are. */
  constructor(registry: Registry, runsInFlight: () => number) {
    this.#count = new Counter({
      name: 'farebox_http_requests_total',
      help: 'Requests answered, by route and status; status 499 stands for a client that went away.',
      labelNames: ['method', 'route', 'status'],
      registers: [registry],
    });
    this.#seconds = new Histogram({
      name: 'farebox_http_request_duration_seconds',
      help: 'From the request head to the end of the answer, streams included.',
      labelNames: ['method', 'route'],
      buckets: DURATION_BUCKETS,
      registers: [registry],
    });
    new Gauge({
      name: 'farebox_api_runs_in_flight',
      help: 'Runs this instance waits for.',
      registers: [registry],
      collect() {
        this.set(runsInFlight());
      },
    });
  }

  /** `route` is `null` for requests that matched none: their paths are the clients' invention and must not become labels. */
  observe(route: RouteDefinition | null, status: number, seconds: number): void {
    const method = route?.method ?? 'other';
    const path = route?.path ?? 'unmatched';
    const key = `${method} ${path} ${status}`;
    let series = this.#series.get(key);
    if (series === undefined) {
      series = { count: this.#count.labels(method, path, String(status)), seconds: this.#seconds.labels(method, path) };
      this.#series.set(key, series);
    }
    series.count.inc();
    series.seconds.observe(seconds);
  }
}
