/** Counts the tokens that a run may need, for routes: a refusal is thrown as the API's own. */
import { refuse } from '../refusals.js';
import type { LimitedCaller, Limiter, TokenReservation } from './limiter.js';

/** `tokensMax` is prompt and output together. Settle what it returns, also when nothing runs. */
export async function reserveRunTokens(limiter: Limiter, caller: LimitedCaller, tokensMax: number): Promise<TokenReservation> {
  const counted = limiter.reserveTokens(caller, tokensMax);
  const tokens = counted instanceof Promise ? await counted : counted;
  if ('status' in tokens) throw refuse('rate_limited', { message: tokens.message, retryAfterSeconds: tokens.retryAfterSeconds });
  return tokens;
}
