/** An API instance as far as limits go, for a test that kills it: lets in as many requests of one key as it gets, says so, and keeps them. */
import { pino } from 'pino';
import { createPostgresPool } from '../../../../platform/postgres/pool.js';
import { eventLoopScheduler } from '../../../../platform/scheduler.js';
import { PostgresLimiter } from '../postgres-limiter.js';
import { HELD_LEASE_MS, HELD_OFFER, HELD_REQUESTS_MAX } from './held-offer.js';

const [connectionString = '', keyId = '', instanceId = ''] = process.argv.slice(2);
const pool = createPostgresPool({
  connectionString,
  applicationName: 'hold-requests',
  connectionsMax: 1,
  logger: pino({ level: 'silent' }),
});
const limiter = new PostgresLimiter({
  pool,
  offer: HELD_OFFER,
  instanceId,
  scheduler: eventLoopScheduler,
  leaseMs: HELD_LEASE_MS,
  onTrouble: () => undefined,
});
const answers = await Promise.all(Array.from({ length: 2 * HELD_REQUESTS_MAX }, () => limiter.admit({ keyId, projectId: 'prj_held' })));
process.stdout.write(`${answers.filter(({ status }) => status === 'admitted').length}\n`);
// Nothing else keeps the process: timers of the scheduler do not.
setInterval(() => undefined, HELD_LEASE_MS);
