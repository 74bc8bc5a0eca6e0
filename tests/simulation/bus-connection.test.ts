/** The simulated connection keeps the contract of the bus, with and without latency. */
import { InProcessBus } from '../../events/bus/in-process/in-process-bus.js';
import { describeMessageBusContract } from '../../events/bus/message-bus-contract.js';
import { connectBus } from './bus-connection.js';
import { runningNetwork } from './running-network.js';

let topics = 0;

for (const latencyMsMax of [0, 50]) {
  describeMessageBusContract(`a simulated connection to the bus, ${latencyMsMax} ms away,`, async () => {
    const { network, outside, client, stop } = runningNetwork(latencyMsMax);
    const broker = new InProcessBus({ scheduler: outside.scheduler });
    return {
      bus: { ...connectBus(broker, client, network), close: () => broker.close() },
      newTopic: async () => {
        topics += 1;
        return `topic-${topics}`;
      },
      dispose: async () => {
        await broker.close();
        stop();
      },
    };
  });
}
