/** The simulated connection keeps the contract of the store, with and without latency. */
import { afterAll } from '@jest/globals';
import { describeEventStoreContract } from '../../events/store/event-store-contract.js';
import { createMemoryEventStore } from '../../events/store/memory/memory-event-store.js';
import { runningNetwork } from './running-network.js';
import { connectStore } from './store-connection.js';

const stops: (() => void)[] = [];
afterAll(() => {
  // A closed connection still answers, so time goes on until the last test.
  for (const stop of stops) stop();
});

for (const latencyMsMax of [0, 50]) {
  describeEventStoreContract(`a simulated connection, ${latencyMsMax} ms away`, () => {
    const { network, outside, client, stop } = runningNetwork(latencyMsMax);
    stops.push(stop);
    const store = createMemoryEventStore({ scheduler: outside.scheduler });
    return {
      ...connectStore(store, client, network),
      close: () => store.close(),
    };
  });
}
