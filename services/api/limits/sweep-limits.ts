/** Removes what counts for nothing any more: instances that died, and keys and projects that were not used for longer than any limit looks back. */
import type { Pool } from 'pg';

/** An instance that was silent for this long is not going to say more; if it does, it says everything anew. */
const DEAD_INSTANCE_MS = 600_000;
/** A bucket is full again after a day; windows of requests are shorter. */
const IDLE_MS = 2 * 86_400_000;
/** Rows of one sweep, so that it never takes long. */
const SWEPT_ROWS_MAX = 1_000;

const NOW_MS = 'extract(epoch from clock_timestamp())::float8 * 1000';

/** Any number of processes may sweep at once: rows that another works on are passed over. */
export async function sweepLimits(pool: Pool): Promise<void> {
  await pool.query(
    `delete from api.limited_instances where instance_id in (
       select instance_id from api.limited_instances where alive_until_ms < ${NOW_MS} - $1 limit $2 for update skip locked)`,
    [DEAD_INSTANCE_MS, SWEPT_ROWS_MAX],
  );
  await pool.query(
    `delete from api.limited_keys where key_id in (
       select key_id from api.limited_keys where counted_at_ms < ${NOW_MS} - $1 limit $2 for update skip locked)`,
    [IDLE_MS, SWEPT_ROWS_MAX],
  );
  await pool.query(
    `delete from api.limited_projects where project_id in (
       select project_id from api.limited_projects where refilled_at_ms < ${NOW_MS} - $1 limit $2 for update skip locked)`,
    [IDLE_MS, SWEPT_ROWS_MAX],
  );
}
