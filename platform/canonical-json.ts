/**
 * JSON with one text for one value, so that it can be hashed and signed whoever stored or sent it in between: the JSON Canonicalization Scheme
 * (RFC 8785). Keys in the order of their UTF-16 code units, no white space, numbers and strings as ECMAScript writes them.
 */

/**
 * Members that are `undefined` are left out, as JSON does. Throws `TypeError` for what JSON cannot say: a number that is not finite, a bigint.
 * What is in order already, as the ledger's events are, takes half the time of what has to be copied into order; such a copy, which
 * `JSON.stringify` writes natively, takes two thirds of the time of writing the text piece by piece.
 */
export function canonicalJson(value: unknown): string {
  if (isInOrder(value)) return JSON.stringify(value);
  const ordered = inOrder(value);
  return ordered === UNORDERABLE ? written(value) : JSON.stringify(ordered);
}

/** Whether `JSON.stringify` writes the value as the scheme wants it: the keys of all its objects are in order. Not so where JSON cannot say it. */
function isInOrder(value: unknown): boolean {
  if (typeof value === 'string') return true;
  if (typeof value !== 'object' || value === null) return isSayable(value);
  if (Array.isArray(value)) return value.every(isInOrder);
  const members = value as Readonly<Record<string, unknown>>;
  let before = '';
  for (const key of Object.keys(members)) {
    // Strings are compared by UTF-16 code units, too.
    if (key < before || !isInOrder(members[key])) return false;
    before = key;
  }
  return true;
}

/** Said of a value that no object can hold in order. */
const UNORDERABLE = Symbol('unorderable');

/** The value with the keys of every object in order. */
function inOrder(value: unknown): unknown {
  if (typeof value === 'string') return value;
  if (typeof value !== 'object' || value === null) return checked(value);
  if (Array.isArray(value)) {
    const members = value.map(inOrder);
    return members.includes(UNORDERABLE) ? UNORDERABLE : members;
  }
  const members = value as Readonly<Record<string, unknown>>;
  const copy: Record<string, unknown> = {};
  // A plain sort compares UTF-16 code units, which is what the scheme asks for.
  for (const key of Object.keys(members).sort()) {
    const member = inOrder(members[key]);
    if (member === UNORDERABLE || hasPlaceOfItsOwn(key)) return UNORDERABLE;
    copy[key] = member;
  }
  return copy;
}

/** Objects put keys that look like array indexes first, whatever order they are given, and take `__proto__` for something else. */
function hasPlaceOfItsOwn(key: string): boolean {
  const first = key.charCodeAt(0);
  return (first >= 48 && first <= 57) || key === '__proto__';
}

/** The same text, piece by piece. */
function written(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(checked(value));
  if (Array.isArray(value)) return `[${value.map((member) => written(member ?? null)).join(',')}]`;
  const members = value as Readonly<Record<string, unknown>>;
  const keys = Object.keys(members).filter((key) => members[key] !== undefined);
  // A plain sort compares UTF-16 code units, which is what the scheme asks for.
  return `{${keys
    .sort()
    .map((key) => `${JSON.stringify(key)}:${written(members[key])}`)
    .join(',')}}`;
}

function checked(value: unknown): unknown {
  if (!isSayable(value)) throw new TypeError(`${value} has no JSON`);
  return value;
}

function isSayable(value: unknown): boolean {
  return typeof value === 'number' ? Number.isFinite(value) : typeof value !== 'bigint';
}
