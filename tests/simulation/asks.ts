/** What was asked of the ledger and what it acknowledged; every acknowledgement is looked up in the log at once and again at the end. */
import type { GrantCredit, GrantResult, ReserveCredit, ReserveResult } from '../../services/ledger/ledger-client.js';
import type { NaiveOracle } from './naive-oracle.js';
import { mustHold } from './violation.js';

export class Asks {
  readonly #oracle: NaiveOracle;
  readonly #check: (check: () => void) => void;
  /** Runs asked for under one idempotency key. */
  readonly runsOfKey = new Map<string, Set<string>>();
  readonly #reserved = new Map<string, bigint>();
  readonly #granted = new Map<string, GrantCredit>();

  constructor(oracle: NaiveOracle, check: (check: () => void) => void) {
    this.#oracle = oracle;
    this.#check = check;
  }

  reservation(command: ReserveCredit, idempotencyKey: string | null): void {
    const known = this.#oracle.reservationsAsked.get(command.runId);
    if (known === undefined) this.#oracle.reservationsAsked.set(command.runId, [command]);
    else known.push(command);
    if (idempotencyKey === null) return;
    const runs = this.runsOfKey.get(idempotencyKey) ?? new Set();
    this.runsOfKey.set(idempotencyKey, runs.add(command.runId));
  }

  grant(command: GrantCredit): void {
    this.#oracle.grantsAsked.set(command.grantId, command);
  }

  onReserved(command: ReserveCredit, result: ReserveResult): void {
    if (result.status === 'reserved') {
      this.#reserved.set(command.runId, result.heldNanos);
      this.#check(() => this.#mustBeReserved(command.runId, result.heldNanos));
    } else if (result.reason === 'insufficient_credit') {
      const { requiredNanos, availableNanos } = result;
      this.#check(() =>
        mustHold(
          requiredNanos > availableNanos,
          '2 balance',
          () => `run ${command.runId} refused: needs ${requiredNanos} of ${availableNanos}`,
        ),
      );
    }
  }

  onGranted(command: GrantCredit, result: GrantResult): void {
    if (result.status !== 'granted') return;
    this.#granted.set(command.grantId, command);
    this.#check(() => this.#mustBeGranted(command));
  }

  /** Nothing that was acknowledged has vanished, and no key was charged twice. */
  checkAtEnd(): void {
    for (const [runId, heldNanos] of this.#reserved) this.#mustBeReserved(runId, heldNanos);
    for (const command of this.#granted.values()) this.#mustBeGranted(command);
    for (const [key, runs] of this.runsOfKey) {
      const charged = [...runs].filter((runId) => (this.#oracle.runs.get(runId)?.charged ?? 0n) > 0n);
      mustHold(charged.length <= 1, '5 idempotency', () => `key ${key} was charged for ${charged.join(' and ')}`);
    }
  }

  #mustBeReserved(runId: string, heldNanos: bigint): void {
    const held = this.#oracle.runs.get(runId)?.held;
    mustHold(held === heldNanos, '11 durable', () => `run ${runId} was acknowledged with ${heldNanos} held; the log says ${held}`);
  }

  #mustBeGranted({ accountId, grantId, amountNanos }: GrantCredit): void {
    const amount = this.#oracle.accounts.get(accountId)?.grants.get(grantId);
    mustHold(amount === amountNanos, '11 durable', () => `grant ${grantId} of ${amountNanos} was acknowledged; the log says ${amount}`);
  }
}
