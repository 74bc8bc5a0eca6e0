/** A state as JSON and back. Snapshots are disposable: a missing or older one only makes the next cold load longer. */
import type { JsonObject, PriceTermsWire, TokenUsage } from '../../../events/contract/index.js';
import { termsFromWire, termsToWire } from '../../../events/contract/index.js';
import { type AccountState, type ClosedReservation, emptyAccount, type KnownGrant, type OpenReservation } from './account-state.js';

/** Raised when the shape changes; snapshots of another version are ignored. */
export const SNAPSHOT_VERSION = 1;

type Wire<Value> = { readonly [Field in keyof Value]: Value[Field] extends bigint ? string : Value[Field] };
type OpenWire = Omit<Wire<OpenReservation>, 'terms'> & { readonly terms: PriceTermsWire };
type ClosedWire = Omit<Wire<ClosedReservation>, 'usage'> & { readonly usage: TokenUsage };
type SnapshotWire = {
  readonly version: number;
  readonly opened: AccountState['opened'];
  readonly availableNanos: string;
  readonly heldNanos: string;
  readonly open: readonly (readonly [string, OpenWire])[];
  readonly closed: readonly (readonly [string, ClosedWire])[];
  readonly closedForgottenUntilMs: number;
  readonly grants: readonly (readonly [string, Wire<KnownGrant>])[];
  readonly grantsForgottenUntilMs: number;
};

/** Equal states give equal text, so it also serves to compare a replayed state with a live one. */
export function stateToSnapshot(state: AccountState): JsonObject {
  const wire: SnapshotWire = {
    version: SNAPSHOT_VERSION,
    opened: state.opened,
    availableNanos: state.availableNanos.toString(),
    heldNanos: state.heldNanos.toString(),
    open: [...state.open].map(([runId, open]) => [
      runId,
      { ...open, heldNanos: open.heldNanos.toString(), terms: termsToWire(open.terms) },
    ]),
    closed: [...state.closed].map(([runId, closed]) => [
      runId,
      { ...closed, heldNanos: closed.heldNanos.toString(), chargedNanos: closed.chargedNanos.toString() },
    ]),
    closedForgottenUntilMs: state.closedForgottenUntilMs,
    grants: [...state.grants].map(([grantId, grant]) => [grantId, { ...grant, amountNanos: grant.amountNanos.toString() }]),
    grantsForgottenUntilMs: state.grantsForgottenUntilMs,
  };
  return wire as unknown as JsonObject;
}

/** `null` for a snapshot of another version. */
export function stateFromSnapshot(snapshot: JsonObject): AccountState | null {
  const wire = snapshot as unknown as SnapshotWire;
  if (wire.version !== SNAPSHOT_VERSION) return null;
  const state = emptyAccount();
  state.opened = wire.opened;
  state.availableNanos = BigInt(wire.availableNanos);
  state.heldNanos = BigInt(wire.heldNanos);
  state.closedForgottenUntilMs = wire.closedForgottenUntilMs;
  state.grantsForgottenUntilMs = wire.grantsForgottenUntilMs;
  for (const [runId, open] of wire.open) {
    state.open.set(runId, { ...open, heldNanos: BigInt(open.heldNanos), terms: termsFromWire(open.terms) });
  }
  for (const [runId, closed] of wire.closed) {
    state.closed.set(runId, { ...closed, heldNanos: BigInt(closed.heldNanos), chargedNanos: BigInt(closed.chargedNanos) });
  }
  for (const [grantId, grant] of wire.grants) state.grants.set(grantId, { ...grant, amountNanos: BigInt(grant.amountNanos) });
  return state;
}
