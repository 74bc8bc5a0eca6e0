/** Transactions on a pool's connections. */
import type { ClientBase, Pool } from 'pg';

/**
 * Runs `work` in a transaction; a failure rolls back and is thrown on. `begin` may hold more statements that the transaction starts with:
 * they share its round trip.
 */
export async function inTransaction<Result>(pool: Pool, work: (client: ClientBase) => Promise<Result>, begin = 'begin'): Promise<Result> {
  const client = await pool.connect();
  let unusable: Error | undefined;
  try {
    await client.query(begin);
    const result = await work(client);
    await client.query('commit');
    return result;
  } catch (error) {
    // A connection whose rollback fails too is thrown away by the release below.
    await client.query('rollback').catch((failure: Error) => {
      unusable = failure;
    });
    throw error;
  } finally {
    client.release(unusable);
  }
}
