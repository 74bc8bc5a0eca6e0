/** Open holds from the read model's requests, through its partial index on deadlines. */
import type { Pool } from 'pg';
import type { OpenHold, OpenHolds } from './open-holds.js';

export function postgresOpenHolds(pool: Pool): OpenHolds {
  const find = async (name: string, condition: string, beforeMs: number, limit: number): Promise<OpenHold[]> => {
    const { rows } = await pool.query<{ account_id: string; run_id: string }>({
      name,
      text: `select account_id, run_id from read_model.requests
             where status = 'reserved' and ${condition} order by deadline_at limit $2`,
      values: [new Date(beforeMs), limit],
    });
    return rows.map((row) => ({ accountId: row.account_id, runId: row.run_id }));
  };
  return {
    dueBefore: (beforeMs, limit) => find('ledger-holds-due', 'deadline_at < $1', beforeMs, limit),
    reservedBefore: (beforeMs, limit) => find('ledger-holds-reserved-before', 'reserved_at < $1', beforeMs, limit),
    async oldestReservedMs() {
      const { rows } = await pool.query<{ oldest: Date | null }>(
        `select min(reserved_at) as oldest from read_model.requests where status = 'reserved'`,
      );
      return rows[0]?.oldest?.getTime() ?? null;
    },
  };
}
