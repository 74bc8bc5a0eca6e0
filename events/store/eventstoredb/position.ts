/**
 * Positions of the EventStoreDB store: commit and prepare position, each padded to the digits of a 64-bit number so that they compare as
 * text. Both are kept: events of one transaction may share their commit position, and only the pair is a place to resume from.
 */
import { BEFORE_EVERYTHING, type Position } from '../../contract/envelope.js';

/** A place in `$all` as the server tells it. */
export type LogPosition = { readonly commit: bigint; readonly prepare: bigint };

/** Digits of the greatest unsigned 64-bit number. */
const DIGITS = 20;
const POSITION = /^(\d{20})-(\d{20})$/;

/** What the server says where it knows no position: -1 as an unsigned 64-bit number. Servers before 22.6 say it in every stream read. */
const UNKNOWN = 0xffff_ffff_ffff_ffffn;

export function positionOf({ commit, prepare }: LogPosition): Position {
  return `${commit.toString().padStart(DIGITS, '0')}-${prepare.toString().padStart(DIGITS, '0')}`;
}

/** `null` before everything. Throws `RangeError` for a position of another store. */
export function partsOf(position: Position): LogPosition | null {
  if (position === BEFORE_EVERYTHING) return null;
  const match = POSITION.exec(position);
  if (match === null) throw new RangeError(`${position} is no position of this store`);
  return { commit: BigInt(match[1] ?? '0'), prepare: BigInt(match[2] ?? '0') };
}

/** `null` where the server gave none. */
export function knownPosition(position: LogPosition | undefined): Position | null {
  if (position === undefined || position.commit === UNKNOWN || position.prepare === UNKNOWN) return null;
  return positionOf(position);
}
