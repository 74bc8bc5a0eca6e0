/** Makes ids from the clock and the operating system's randomness. */
import { randomFillSync } from 'node:crypto';
import { type IdPrefix, makeId } from '../events/contract/ids.js';
import type { Clock } from './clock.js';

export interface IdSource {
  next(prefix: IdPrefix): string;
}

const BYTES_PER_ID = 10;
/** Random bytes are fetched for this many ids at once; a system call per id would cost more than the id. */
const IDS_PER_REFILL = 512;

export function randomIdSource(clock: Clock): IdSource {
  const pool = new Uint8Array(BYTES_PER_ID * IDS_PER_REFILL);
  let offset = pool.length;
  return {
    next(prefix) {
      if (offset === pool.length) {
        randomFillSync(pool);
        offset = 0;
      }
      const random = pool.subarray(offset, offset + BYTES_PER_ID);
      offset += BYTES_PER_ID;
      return makeId(prefix, clock.nowMs(), random);
    },
  };
}
