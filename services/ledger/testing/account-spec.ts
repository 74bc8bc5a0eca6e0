/** Given/when/then for the decider, and the values that its tests share. */
import { expect } from '@jest/globals';
import { type AccountEvent, makeId } from '../../../events/contract/index.js';
import { type AccountState, emptyAccount, evolve } from '../domain/account-state.js';
import type { AccountCommand, ReserveCreditCommand, SettleReservationCommand } from '../domain/commands.js';
import { type Decision, decide } from '../domain/decide.js';
import { ACCOUNT, NOW_MS, OPENING, PER_RUN } from './examples.js';

export { ACCOUNT, NOW_MS, OPENING, PER_RUN, USD } from './examples.js';

/** A run id made `ageMs` before now; `n` tells ids of one time apart. */
export function runId(n: number, ageMs = 0): string {
  const random = new Uint8Array(10);
  new DataView(random.buffer).setUint32(6, n);
  return makeId('run', NOW_MS - ageMs, random);
}

export function reserve(overrides: Partial<ReserveCreditCommand> = {}): ReserveCreditCommand {
  return {
    type: 'ReserveCredit',
    accountId: ACCOUNT,
    runId: runId(1),
    opening: OPENING,
    keyId: 'key_test',
    model: 'model',
    priceVersion: '2026-11',
    terms: PER_RUN,
    promptTokensMax: 100,
    outputTokensMax: 1_000,
    outputTokensExplicit: false,
    cancelPolicy: 'charge_generated',
    deadlineMs: NOW_MS + 60_000,
    ...overrides,
  };
}

export function settle(overrides: Partial<SettleReservationCommand> = {}): SettleReservationCommand {
  return {
    type: 'SettleReservation',
    accountId: ACCOUNT,
    runId: runId(1),
    outcome: 'completed',
    finishReason: 'stop',
    usage: { promptTokens: 20, cachedTokens: 0, completionTokens: 30 },
    errorCode: null,
    attempt: 1,
    ...overrides,
  };
}

/** Folds the accepted events of each command, in order, into a fresh account. */
export function given(...commands: readonly AccountCommand[]) {
  const state = emptyAccount();
  for (const command of commands) apply(state, command);
  return {
    state,
    when(command: AccountCommand, nowMs = NOW_MS) {
      const decision = decide(command, state, nowMs);
      return { decision, ...assertions(decision, state) };
    },
  };
}

export function apply(state: AccountState, command: AccountCommand, nowMs = NOW_MS): Decision {
  const decision = decide(command, state, nowMs);
  if (decision.kind === 'accepted') for (const event of decision.events) evolve(state, event);
  return decision;
}

function assertions(decision: Decision, state: AccountState) {
  return {
    thenEvents(...expected: readonly (Partial<AccountEvent> & { type: AccountEvent['type'] })[]): AccountState {
      expect(decision.kind).toBe('accepted');
      const events = decision.kind === 'accepted' ? decision.events : [];
      expect(events.map((event) => event.type)).toEqual(expected.map((event) => event.type));
      for (const [index, event] of expected.entries()) expect(events[index]).toMatchObject(event);
      for (const event of events) evolve(state, event);
      return state;
    },
    thenUnchanged(): void {
      expect(decision).toEqual({ kind: 'unchanged' });
    },
    thenRefused(refusal: Record<string, unknown>): void {
      expect(decision).toMatchObject({ kind: 'rejected', refusal });
    },
  };
}
