/** What a history must never show. The first one ends the history; its seed replays it. */

export class Violation extends Error {
  override readonly name = 'Violation';
  constructor(
    /** Number of the invariant in the list of assurance.md's order, or the name of another promise. */
    readonly invariant: string,
    message: string,
  ) {
    super(`${invariant}: ${message}`);
  }
}

export function mustHold(condition: boolean, invariant: string, message: () => string): void {
  if (!condition) throw new Violation(invariant, message());
}
