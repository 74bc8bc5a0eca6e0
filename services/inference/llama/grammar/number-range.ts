/** The numbers between two bounds, as a GBNF expression: digit by digit, so that no number outside can be begun. */

/**
 * Whole numbers `least` to `most`, divided by 10 to the power of `fractionDigits`, without exponent and without leading zeros. Fractions may be
 * written shorter, the missing digits being zeros.
 */
export function rangeExpression(least: number, most: number, fractionDigits: number): string {
  const parts: string[] = [];
  if (least < 0) parts.push(`"-" (${magnitudes(Math.max(1, -most), -least, fractionDigits)})`);
  if (most >= 0) parts.push(magnitudes(Math.max(0, least), most, fractionDigits));
  return parts.join(' | ');
}

function magnitudes(least: number, most: number, fractionDigits: number): string {
  const scale = 10 ** fractionDigits;
  const [low, high] = [Math.floor(least / scale), Math.floor(most / scale)];
  if (fractionDigits === 0) return wholes(low, high).join(' | ');
  const digits = (value: number) => String(value % scale).padStart(fractionDigits, '0');
  const [none, all] = ['0'.repeat(fractionDigits), '9'.repeat(fractionDigits)];
  if (low === high) return `"${low}" ${fraction(digits(least), digits(most))}`;
  const parts = [`"${low}" ${fraction(digits(least), all)}`, `"${high}" ${fraction(none, digits(most))}`];
  if (high - low > 1) parts.push(`(${wholes(low + 1, high - 1).join(' | ')}) ${fraction(none, all)}`);
  return parts.join(' | ');
}

/** Numbers of each length on their own, since none may begin with a zero. */
function wholes(least: number, most: number): string[] {
  const parts: string[] = [];
  for (let length = String(least).length; length <= String(most).length; length += 1) {
    const low = Math.max(least, length === 1 ? 0 : 10 ** (length - 1));
    const high = Math.min(most, 10 ** length - 1);
    parts.push(between(String(low), String(high), false));
  }
  return parts;
}

/** The point and what follows; nothing, where that is within the bounds. */
function fraction(least: string, most: string): string {
  const digits = `"." (${choices(least, most, true).join(' | ')})`;
  return isZero(least) ? `(${digits})?` : digits;
}

/** Digit strings of one length. `mayEnd`: zeros at the end may be left out. */
function between(least: string, most: string, mayEnd: boolean): string {
  if (least === '') return '';
  if (isZero(least) && /^9*$/.test(most)) return mayEnd ? `[0-9]{0,${least.length}}` : `[0-9]{${least.length}}`;
  const all = choices(least, most, mayEnd).join(' | ');
  return mayEnd && isZero(least) ? `(${all})?` : `(${all})`;
}

function choices(least: string, most: string, mayEnd: boolean): string[] {
  const [first, last] = [Number(least[0]), Number(most[0])];
  const [leastRest, mostRest] = [least.slice(1), most.slice(1)];
  const [none, all] = ['0'.repeat(leastRest.length), '9'.repeat(leastRest.length)];
  const parts: string[] = [];
  const add = (from: number, to: number, low: string, high: string) => {
    if (from <= to) parts.push(`[${from}-${to}] ${between(low, high, mayEnd)}`.trimEnd());
  };
  if (first === last) {
    add(first, first, leastRest, mostRest);
    return parts;
  }
  const [opensLow, opensHigh] = [leastRest === none, mostRest === all];
  if (!opensLow) add(first, first, leastRest, all);
  add(opensLow ? first : first + 1, opensHigh ? last : last - 1, none, all);
  if (!opensHigh) add(last, last, none, mostRest);
  return parts;
}

function isZero(digits: string): boolean {
  return /^0*$/.test(digits);
}
