/** Values that the tests and benchmarks of several services share. */
import type { PriceTerms } from '../../../events/contract/index.js';
import type { AccountOpening } from '../ledger-client.js';

export const NOW_MS = 1_790_000_000_000;
export const USD = 1_000_000_000n;
export const ACCOUNT = 'acc_test';

export const OPENING: AccountOpening = {
  holder: { kind: 'project', projectId: 'prj_test' },
  unit: 'USD',
  environment: 'live',
  starterNanos: USD,
};

/** Hunt's standard tier: 0.02 a run with 5,000 tokens, 0.003 per thousand beyond. */
export const PER_RUN: PriceTerms = {
  kind: 'per_run',
  pricePerRunNanos: 20_000_000n,
  includedTokens: 5_000,
  overagePerThousandNanos: 3_000_000n,
  overageUnit: 'started_thousand',
  rounding: 'up',
};
