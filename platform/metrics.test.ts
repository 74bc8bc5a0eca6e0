/** Every metric of the process carries Farebox's prefix, so that dashboards can tell it from its neighbours. */
import { expect, test } from '@jest/globals';
import { createMetrics } from './metrics.js';

test('the registry shows memory, CPU and event-loop lag under the prefix', async () => {
  const registry = createMetrics();
  const names = (await registry.getMetricsAsJSON()).map((metric) => metric.name);
  expect(names).toEqual(
    expect.arrayContaining([
      'farebox_process_resident_memory_bytes',
      'farebox_process_cpu_seconds_total',
      'farebox_nodejs_eventloop_lag_seconds',
    ]),
  );
  expect(names.filter((name) => !name.startsWith('farebox_'))).toEqual([]);
});
