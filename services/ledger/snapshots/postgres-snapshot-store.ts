/** Account snapshots in Postgres, one row per account. */
import type { Pool } from 'pg';
import type { JsonObject } from '../../../events/contract/index.js';
import type { SnapshotStore } from './snapshot-store.js';

export function postgresSnapshotStore(pool: Pool): SnapshotStore {
  return {
    async load(accountId) {
      const { rows } = await pool.query<{ revision: string; state: JsonObject }>({
        name: 'ledger-load-snapshot',
        text: 'select revision, state from ledger.account_snapshots where account_id = $1',
        values: [accountId],
      });
      const row = rows[0];
      return row === undefined ? null : { revision: Number(row.revision), state: row.state };
    },
    async save(accountId, snapshot) {
      await pool.query({
        name: 'ledger-save-snapshot',
        text: `insert into ledger.account_snapshots (account_id, revision, state) values ($1, $2, $3)
               on conflict (account_id) do update set revision = excluded.revision, state = excluded.state
               where account_snapshots.revision < excluded.revision`,
        values: [accountId, snapshot.revision, JSON.stringify(snapshot.state)],
      });
    },
  };
}
