/** The relay's checkpoint in Postgres, for a bus that remembers: what has been published need not be published again. */
import type { Pool } from 'pg';
import { BEFORE_EVERYTHING, type Position } from '../contract/index.js';
import type { CheckpointStore } from './relay.js';

/** `relay` names the one that reads a certain store: positions of different stores have nothing to do with each other. */
export function postgresCheckpoints(pool: Pool, relay: string): CheckpointStore {
  return {
    async load() {
      const { rows } = await pool.query<{ position: Position }>('select position from relay.checkpoints where relay = $1', [relay]);
      return rows[0]?.position ?? BEFORE_EVERYTHING;
    },
    async save(position) {
      // Never back: a relay that was thought dead must not undo what its successor has noted.
      await pool.query({
        name: 'relay-save-checkpoint',
        text: `insert into relay.checkpoints (relay, position, updated_at) values ($1, $2, now())
               on conflict (relay) do update set position = greatest(checkpoints.position, excluded.position), updated_at = now()`,
        values: [relay, position],
      });
    },
  };
}
