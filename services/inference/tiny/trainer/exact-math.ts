/**
 * Exponential, sine and cosine from additions and multiplications alone. `Math.exp` and its kin may differ in the last bit between
 * platforms, and one bit is enough for a rebuilt model file to differ; IEEE 754 fixes the four basic operations and the square root.
 */

const { LN2, LOG2E } = Math;
/** Below this exponent the result is zero for a 32-bit weight. */
const EXPONENT_MIN = -125;
const EXPONENT_MAX = 127;
const POWERS_OF_TWO = Float64Array.from({ length: EXPONENT_MAX - EXPONENT_MIN + 1 }, (_, index) => 2 ** (index + EXPONENT_MIN));

/** e to the x with a relative error below 1e-8; zero below about -86, clamped above about 88. */
export function exponential(x: number): number {
  const exponent = Math.min(EXPONENT_MAX, Math.floor(x * LOG2E + 0.5));
  if (exponent < EXPONENT_MIN) return 0;
  const r = x - exponent * LN2;
  // Taylor series: |r| is at most ln 2 / 2, so the first term left out is below 6e-9.
  const series = 1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * (1 / 720 + r * (1 / 5040)))))));
  return series * (POWERS_OF_TWO[exponent - EXPONENT_MIN] ?? 0);
}

const QUARTER_TURN = Math.PI / 2;

/** Cosine and sine of an angle in radians, with an error below 1e-9 for angles below 1e5. */
export function cosineAndSine(angle: number): readonly [cosine: number, sine: number] {
  const quarters = Math.floor(angle / QUARTER_TURN + 0.5);
  const r = angle - quarters * QUARTER_TURN;
  const square = r * r;
  const sine = r * (1 - (square / 6) * (1 - (square / 20) * (1 - (square / 42) * (1 - (square / 72) * (1 - square / 110)))));
  const cosine = 1 - (square / 2) * (1 - (square / 12) * (1 - (square / 30) * (1 - (square / 56) * (1 - square / 90))));
  switch (((quarters % 4) + 4) % 4) {
    case 0:
      return [cosine, sine];
    case 1:
      return [-sine, cosine];
    case 2:
      return [-cosine, -sine];
    default:
      return [sine, -cosine];
  }
}
