/** What surrounds every stored event: identity, place and time. */

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };
export type JsonObject = { readonly [key: string]: JsonValue };

/** Facts about an event that are not part of it. */
export type EventMetadata = {
  /** The command that caused the event; event ids derive from it. */
  readonly commandId: string;
  /** Unix milliseconds, taken from the clock that was handed to the decider. */
  readonly occurredAtMs: number;
  /** Of an account's event: its hash in the account's chain, see `account-chain.ts`; absent in older books. */
  readonly chain?: string;
};

/** An event ready to be appended. */
export type NewEvent = {
  /** UUID; deterministic, so that a retried append is recognised. */
  readonly id: string;
  readonly type: string;
  /** Version of `data`'s shape; readers upcast older ones. */
  readonly version: number;
  readonly data: JsonObject;
  readonly metadata: EventMetadata;
};

/**
 * A place in the store's global order. Opaque, but comparable with `<` as a string: adapters pad numbers to fixed width. The empty
 * string stands before everything.
 */
export type Position = string;

export const BEFORE_EVERYTHING: Position = '';

/** An event as the store holds it. */
export type RecordedEvent = NewEvent & {
  readonly stream: string;
  /** Zero-based place in its stream. */
  readonly revision: number;
  readonly position: Position;
};
