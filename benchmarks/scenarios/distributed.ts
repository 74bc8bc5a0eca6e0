/**
 * The distributed wiring on one machine: what it adds to a request over the embedded one, how far the views are behind, how fast the relay is,
 * and how soon a paid request succeeds after a process was killed. Asked for by `--distributed`: it needs Java and takes minutes.
 */
import { pino } from 'pino';
import { createPostgresPool } from '../../platform/postgres/pool.js';
import { startDistributedFarebox } from '../support/distributed.js';
import type { Scenario } from '../support/figures.js';
import { startFarebox } from '../support/servers.js';
import { overheadFigures } from './distributed-overhead.js';
import { recoveryFigures } from './distributed-recovery.js';
import { relayFigures, settleLagFigures } from './distributed-views.js';

const CONNECTIONS_MAX = 4;

export const distributedScenario: Scenario = {
  name: 'distributed',
  async run(say) {
    const farebox = await startDistributedFarebox();
    const pool = createPostgresPool({
      connectionString: farebox.connectionString,
      connectionsMax: CONNECTIONS_MAX,
      applicationName: 'farebox-benchmark',
      logger: pino({ level: 'silent' }),
    });
    try {
      const embedded = await startFarebox('echo');
      const overhead = await overheadFigures(farebox, embedded, say).finally(() => embedded.stop());
      const lag = await settleLagFigures(farebox, pool, say);
      const relay = await relayFigures(farebox, pool, say);
      return [...overhead, ...lag, ...relay, ...(await recoveryFigures(farebox, pool, say))];
    } finally {
      await pool.end();
      await farebox.stop();
    }
  },
};
