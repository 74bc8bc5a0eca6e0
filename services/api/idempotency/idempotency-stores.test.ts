/** The Postgres store, and the one in memory that tests and simulations use, keep the same promises. */
import { openApiDatabase } from '../testing/api-database.js';
import { describeIdempotencyStore } from '../testing/idempotency-store-contract.js';
import { MemoryIdempotencyStore } from '../testing/memory-idempotency-store.js';
import { PostgresIdempotencyStore } from './postgres-idempotency-store.js';

describeIdempotencyStore('idempotency keys in memory', async () => ({ store: new MemoryIdempotencyStore(), close: async () => undefined }));

describeIdempotencyStore('idempotency keys in Postgres', async () => {
  const database = await openApiDatabase();
  return { store: new PostgresIdempotencyStore(database.pool), close: () => database.close() };
});
