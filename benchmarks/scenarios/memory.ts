/** Resident memory of the embedded process at rest, after 5,000 requests, and after 100,000: nothing may grow with history. */
import type { Figure, Scenario } from '../support/figures.js';
import { load } from '../support/load.js';
import { type MeasuredServer, startFarebox } from '../support/servers.js';

const WARM_UP_REQUESTS = 5_000;
const REQUESTS = 100_000;
const GROWTH_MAX = 1.3;
const MEGABYTE = 1024 * 1024;

export const memoryScenario: Scenario = {
  name: 'memory',
  async run(say) {
    const server = await startFarebox('echo');
    try {
      const atRest = await residentMegabytes(server);
      await requests(server, WARM_UP_REQUESTS);
      const warm = await residentMegabytes(server);
      await requests(server, REQUESTS - WARM_UP_REQUESTS);
      const after = await residentMegabytes(server);
      say(
        `resident: ${Math.round(atRest)} MB at rest, ${Math.round(warm)} MB after ${WARM_UP_REQUESTS}, ${Math.round(after)} MB after ${REQUESTS}`,
      );
      const figures: Figure[] = [
        { name: 'resident memory at rest', value: atRest, unit: 'MB' },
        {
          name: `resident memory after ${REQUESTS.toLocaleString('en-US')} requests`,
          value: after,
          unit: 'MB',
          beside: { name: `after ${WARM_UP_REQUESTS.toLocaleString('en-US')}`, value: warm },
          ratio: after / warm,
          target: { text: `<= ${GROWTH_MAX * 100} %`, isMet: after / warm <= GROWTH_MAX },
        },
      ];
      return figures;
    } finally {
      await server.stop();
    }
  },
};

async function requests(server: MeasuredServer, amount: number): Promise<void> {
  const body = JSON.stringify({ model: 'farebox-tiny', messages: [{ role: 'user', content: 'Hello world, how are you today?' }] });
  const { failures } = await load({ url: `${server.baseUrl}/v1/chat/completions`, headers: server.headers, body, connections: 32, amount });
  if (failures > 0) throw new Error(`${failures} requests failed`);
}

async function residentMegabytes(server: MeasuredServer): Promise<number> {
  const text = await (await fetch(`${server.baseUrl}/metrics`)).text();
  const bytes = /^farebox_process_resident_memory_bytes (\S+)$/m.exec(text)?.[1];
  if (bytes === undefined) throw new Error('the process does not report its memory');
  return Number(bytes) / MEGABYTE;
}
