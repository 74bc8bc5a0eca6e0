/** What the process that is killed and the test that kills it agree on. */
import type { LimitsOffer } from '../plan-limits.js';

export const HELD_REQUESTS_MAX = 10;
/** Short, so that the test need not wait long; long enough for a busy machine to beat within it. */
export const HELD_LEASE_MS = 2_000;
export const HELD_OFFER: LimitsOffer = { limits: { concurrent_requests: HELD_REQUESTS_MAX, headers: ['simple'] }, plans: {} };
