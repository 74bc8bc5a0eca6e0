/** What the bus has accepted: every stored event in the order of its stream, and settlements that say what the books say. */
import type { Message } from '../../events/bus/message-bus.js';
import { ACCOUNT_EVENTS_TOPIC } from '../../events/contract/topics.js';
import type { NaiveOracle } from './naive-oracle.js';
import { mustHold } from './violation.js';

export class PublishedEvents {
  readonly #oracle: NaiveOracle;
  /** Highest revision published of each stream; all below it were published before. */
  readonly #published = new Map<string, number>();
  #events = 0;

  constructor(oracle: NaiveOracle) {
    this.#oracle = oracle;
  }

  /** Distinct events published so far. */
  get events(): number {
    return this.#events;
  }

  onPublished(topic: string, messages: readonly Message[]): void {
    for (const message of messages) {
      if (topic === ACCOUNT_EVENTS_TOPIC) this.#onAccountEvent(message);
      else if (message.type === 'RunSettled') this.#onRunSettled(message);
    }
  }

  #onAccountEvent({ type, headers, value }: Message): void {
    const stream = headers['stream'] ?? '';
    const revision = Number(headers['revision']);
    const stored = this.#oracle.eventIds.get(headers['event-id'] ?? '');
    mustHold(
      stored !== undefined && stored.stream === stream && stored.revision === revision,
      '10 bus',
      () => `${type} ${stream}/${revision} is not in the store`,
    );
    mustHold(
      JSON.stringify(stored?.event.data) === JSON.stringify(value['data']),
      '10 bus',
      () => `${type} ${stream}/${revision} was changed on its way`,
    );
    const highest = this.#published.get(stream) ?? -1;
    if (revision <= highest) return;
    mustHold(revision === highest + 1, '10 bus', () => `${stream} jumps from ${highest} to ${revision} on the bus`);
    this.#published.set(stream, revision);
    this.#events += 1;
  }

  #onRunSettled({ value }: Message): void {
    const runId = value['runId'] as string;
    const run = this.#oracle.runs.get(runId);
    mustHold(run !== undefined && run.outcome !== null, '11 durable', () => `run ${runId} is announced as settled and is not in the log`);
    const told = `${value['outcome']} ${value['chargedNanos']} ${value['refundedNanos']} ${value['heldNanos']}`;
    const books = `${run?.outcome} ${run?.charged} ${run?.refunded} ${run?.held}`;
    mustHold(told === books, '11 durable', () => `run ${runId} is announced as ${told}; the books say ${books}`);
  }
}
