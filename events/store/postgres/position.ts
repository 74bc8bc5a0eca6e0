/** Positions of the Postgres store: transaction id and ordinal, padded to the digits of their types so that they compare as text. */
import { BEFORE_EVERYTHING, type Position } from '../../contract/envelope.js';

/** Digits of the greatest xid8 and of the greatest integer. */
const XID_DIGITS = 20;
const ORDINAL_DIGITS = 10;
const POSITION = /^(\d{20})-(\d{10})$/;

export function positionOf(xid: string, ordinal: number): Position {
  return `${xid.padStart(XID_DIGITS, '0')}-${ordinal.toString().padStart(ORDINAL_DIGITS, '0')}`;
}

/** Throws `RangeError` for a position of another store. */
export function partsOf(position: Position): readonly [xid: string, ordinal: number] {
  if (position === BEFORE_EVERYTHING) return ['0', 0];
  const match = POSITION.exec(position);
  if (match === null) throw new RangeError(`${position} is no position of this store`);
  return [BigInt(match[1] ?? '0').toString(), Number(match[2])];
}
