/**
 * `node dist/benchmarks/shard-imbalance.js`: how unevenly shards by account are loaded when a few customers make most of the requests. Accounts
 * are placed at random, as a hash does; their traffic follows Zipf's law with exponent 1 (the n-th largest has 1/n of the largest).
 */

const ACCOUNTS = 100_000;
const SHARDS = [2, 12, 24, 48];
const PLACEMENTS = 200;
/** Accounts that an operator splits into sub-accounts first. */
const SPLIT_LARGEST = [0, 100];
const SEED = 20_260_101;

for (const split of SPLIT_LARGEST) {
  const shares = zipfShares(ACCOUNTS);
  const [spread, placed] = [shares.subarray(0, split), shares.subarray(split)];
  const random = seededRandom(SEED);
  for (const shards of SHARDS) {
    const hottest = Array.from({ length: PLACEMENTS }, () => hottestShard(placed, shards, random));
    const even = spread.reduce((sum, share) => sum + share, 0) / shards;
    const overMean = hottest.map((share) => (share + even) * shards).sort((left, right) => left - right);
    const [median, p95] = [overMean[PLACEMENTS / 2] ?? Number.NaN, overMean[PLACEMENTS * 0.95] ?? Number.NaN];
    process.stdout.write(
      `${split} largest split, ${shards} shards: hottest over mean, median ${median.toFixed(2)}, p95 ${p95.toFixed(2)}\n`,
    );
  }
}
process.stdout.write(`the largest account has ${((zipfShares(ACCOUNTS)[0] ?? Number.NaN) * 100).toFixed(1)} % of the requests\n`);

function zipfShares(accounts: number): Float64Array {
  const weights = Float64Array.from({ length: accounts }, (_, n) => 1 / (n + 1));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

function hottestShard(shares: Float64Array, shards: number, random: () => number): number {
  const loads = new Float64Array(shards);
  for (const share of shares) {
    const shard = Math.floor(random() * shards);
    loads[shard] = (loads[shard] ?? 0) + share;
  }
  return loads.reduce((highest, one) => Math.max(highest, one), 0);
}

/** Mulberry32 (Tommy Ettinger): the same placements every time. */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
