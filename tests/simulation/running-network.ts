/** A network without faults whose time runs as fast as it can, for the contract suites of the connections. */
import { drawFaultPlan, withoutFaults } from './fault-plan.js';
import type { Network } from './network.js';
import { SeededRandom } from './seeded-random.js';
import { Actor, Timeline } from './timeline.js';
import { Trace } from './trace.js';

/** `stop` ends the time. */
export function runningNetwork(latencyMsMax: number) {
  const random = new SeededRandom(latencyMsMax);
  const timeline = new Timeline(random, new Trace(false));
  const outside = new Actor('outside', timeline);
  const network: Network = { timeline, random, outside, faults: { ...withoutFaults(drawFaultPlan(random)), latencyMsMax } };
  let isRunning = true;
  const run = () => {
    timeline.step();
    if (isRunning) setImmediate(run);
  };
  run();
  return {
    network,
    outside,
    client: new Actor('client', timeline),
    stop: () => {
      isRunning = false;
    },
  };
}
