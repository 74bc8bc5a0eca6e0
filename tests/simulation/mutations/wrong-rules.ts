/** Bugs planted into the ledger's rules: the real decider and fold, bent in one place. */
import { chainAfter } from '../../../events/account-chain.js';
import { type AccountEvent, NO_USAGE } from '../../../events/contract/index.js';
import type { LedgerRules } from '../../../services/ledger/accounts/account-ledger.js';
import { type AccountState, type ClosedReservation, evolve, type OpenReservation } from '../../../services/ledger/domain/account-state.js';
import type { AccountCommand, SettleReservationCommand } from '../../../services/ledger/domain/commands.js';
import { type Decision, decide } from '../../../services/ledger/domain/decide.js';
import { chargePostings, refundPostings } from '../../../services/ledger/domain/postings.js';
import { chargeFor } from '../../../services/ledger/domain/pricing.js';
import type { Mutation } from './mutation.js';

type Edit = (event: AccountEvent, state: AccountState) => AccountEvent | null;

function withDecide(bent: LedgerRules['decide']): LedgerRules {
  return { decide: bent, evolve };
}

/** Changes accepted events, or leaves them out. */
function withEvents(edit: Edit): LedgerRules {
  return withDecide((command, state, nowMs) => {
    const decision = decide(command, state, nowMs);
    if (decision.kind !== 'accepted') return decision;
    return { kind: 'accepted', events: decision.events.map((event) => edit(event, state)).filter((event) => event !== null) };
  });
}

function withChain(bent: typeof chainAfter): LedgerRules {
  return { decide, evolve, chainAfter: bent };
}

/** Shows the decider another account than there is. */
function withState(see: (state: AccountState, command: AccountCommand) => AccountState): LedgerRules {
  return withDecide((command, state, nowMs) => decide(command, see(state, command), nowMs));
}

/** Shows the decider another reservation than there is. */
function withReservation(see: (open: OpenReservation, command: AccountCommand) => OpenReservation): LedgerRules {
  return withState((state, command) => ({
    ...state,
    open: new Map([...state.open].map(([runId, open]) => [runId, see(open, command)])),
  }));
}

function withCommand(bend: (command: AccountCommand) => AccountCommand): LedgerRules {
  return withDecide((command, state, nowMs) => decide(bend(command), state, nowMs));
}

/** A fold that takes the end of a run it does not know. */
const lenientEvolve: LedgerRules['evolve'] = (state, event) => {
  if ('runId' in event && event.type !== 'CreditReserved' && !state.open.has(event.runId)) return state;
  return evolve(state, event);
};

/** Charges a result for a run that is closed already, when `isTaken`. */
function chargingClosedRuns(isTaken: (closed: ClosedReservation) => boolean): LedgerRules {
  const chargeAgain = (command: SettleReservationCommand, closed: ClosedReservation): Decision => {
    const { accountId, runId, outcome, finishReason, usage, errorCode, attempt } = command;
    const chargedNanos = closed.chargedNanos === 0n ? closed.heldNanos : closed.chargedNanos;
    const refundedNanos = closed.heldNanos - chargedNanos;
    return {
      kind: 'accepted',
      events: [
        { type: 'UsageRecorded', accountId, runId, usage, chargedNanos, postings: chargePostings(chargedNanos) },
        { type: 'CreditRefunded', accountId, runId, refundedNanos, postings: refundPostings(refundedNanos) },
        { type: 'ReservationSettled', accountId, runId, outcome, finishReason, errorCode, chargedNanos, refundedNanos, attempt },
      ],
    };
  };
  return {
    decide: (command, state, nowMs) => {
      const closed = command.type === 'SettleReservation' ? state.closed.get(command.runId) : undefined;
      const isAgain = command.type === 'SettleReservation' && command.outcome === 'completed' && closed !== undefined && isTaken(closed);
      return isAgain ? chargeAgain(command, closed) : decide(command, state, nowMs);
    },
    evolve: lenientEvolve,
  };
}

/** A charge without the cap, and what is left of the hold, even when that is less than nothing. */
const uncapped: Edit = (event, state) => {
  if (event.type !== 'UsageRecorded' && event.type !== 'CreditRefunded' && event.type !== 'ReservationSettled') return event;
  const open = state.open.get(event.runId);
  if (open === undefined) return event;
  const usage = event.type === 'UsageRecorded' ? event.usage : NO_USAGE;
  const chargedNanos = chargeFor(open.terms, usage);
  if (event.type !== 'UsageRecorded' || chargedNanos <= open.heldNanos || event.chargedNanos === 0n) return event;
  return { ...event, chargedNanos, postings: chargePostings(chargedNanos) };
};

const heldOf = (state: AccountState, runId: string) => state.open.get(runId)?.heldNanos ?? 0n;

export const WRONG_RULES: readonly Mutation[] = [
  { name: 'a run settled twice is charged twice', rules: chargingClosedRuns((closed) => closed.outcome === 'completed') },
  { name: 'a late result charges a run that had expired', rules: chargingClosedRuns((closed) => closed.outcome === 'expired') },
  { name: 'a late result charges a run that had failed', rules: chargingClosedRuns((closed) => closed.outcome === 'failed') },
  { name: 'the refund is left out', rules: withEvents((event) => (event.type === 'CreditRefunded' ? null : event)) },
  {
    name: 'the whole hold is refunded besides the charge',
    rules: withEvents((event, state) =>
      event.type === 'CreditRefunded' ? { ...event, postings: refundPostings(heldOf(state, event.runId)) } : event,
    ),
  },
  {
    name: 'admission ignores what is held',
    rules: withState((state) => ({ ...state, availableNanos: state.availableNanos + state.heldNanos })),
  },
  { name: 'admission is off by one nano', rules: withState((state) => ({ ...state, availableNanos: state.availableNanos + 1n })) },
  {
    name: 'admission refuses a hold that fits exactly',
    rules: withState((state) => ({ ...state, availableNanos: state.availableNanos - 1n })),
  },
  { name: 'a repeated grant credits twice', rules: withState((state) => ({ ...state, grants: new Map() })) },
  {
    name: 'a hold expires before its deadline',
    rules: withDecide((command, state, nowMs) => decide(command, state, command.type === 'ExpireReservation' ? nowMs + 13_000 : nowMs)),
  },
  {
    name: 'a result is charged after its hold has expired',
    rules: withDecide((command, state, nowMs) => decide(command, state, command.type === 'SettleReservation' ? 0 : nowMs)),
  },
  {
    name: 'a cancelled run is charged although the policy refunds all',
    rules: withReservation((open) => ({ ...open, cancelPolicy: 'charge_generated' })),
  },
  {
    name: 'a run cancelled before its first token is charged',
    rules: withCommand((command) =>
      command.type === 'SettleReservation' && command.outcome === 'cancelled' && command.usage.completionTokens === 0
        ? { ...command, usage: { ...command.usage, completionTokens: 1 } }
        : command,
    ),
  },
  {
    name: 'a failed run is charged',
    rules: withCommand((command) =>
      command.type === 'SettleReservation' && command.outcome === 'failed' ? { ...command, outcome: 'completed' } : command,
    ),
  },
  { name: 'a charge may exceed its hold', rules: withEvents(uncapped) },
  {
    name: 'settlement rounds down whatever the terms say',
    rules: withReservation((open) => ('rounding' in open.terms ? { ...open, terms: { ...open.terms, rounding: 'down' } } : open)),
  },
  {
    name: 'settlement takes cached tokens for fresh ones',
    rules: withCommand((command) =>
      command.type === 'SettleReservation' ? { ...command, usage: { ...command.usage, cachedTokens: 0 } } : command,
    ),
  },
  {
    name: 'a shortened run keeps the budget that was asked for',
    rules: withDecide((command, state, nowMs) => {
      const decision = decide(command, state, nowMs);
      if (decision.kind !== 'accepted' || command.type !== 'ReserveCredit') return decision;
      const { outputTokensMax: outputTokensBudget } = command;
      return {
        kind: 'accepted',
        events: decision.events.map((event) => (event.type === 'CreditReserved' ? { ...event, outputTokensBudget } : event)),
      };
    }),
  },
  {
    name: 'the fold in memory returns a refund twice',
    rules: {
      decide,
      evolve: (state, event) => {
        evolve(state, event);
        if (event.type === 'CreditRefunded') state.availableNanos += event.refundedNanos;
        return state;
      },
    },
  },
  { name: 'a hash does not cover the one before it', rules: withChain((_before, event) => chainAfter(null, event)) },
  { name: 'a hash does not cover what the event says', rules: withChain((before, event) => chainAfter(before, { ...event, data: {} })) },
  {
    name: 'a repeated reservation is held a second time',
    rules: withState((state, command) =>
      command.type === 'ReserveCredit'
        ? { ...state, open: new Map([...state.open].filter(([runId]) => runId !== command.runId)), closed: new Map() }
        : state,
    ),
  },
];
