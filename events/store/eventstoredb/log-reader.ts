/**
 * Reads `$all` page by page. The client cannot ask for a filtered read, so system events and other applications' events are passed over here;
 * a read from a position includes the event at it, which is passed over too.
 */
import { BEFORE_EVERYTHING, type Position, type RecordedEvent } from '../../contract/envelope.js';
import { checkReadCount } from '../store-bounds.js';
import type { DbClient } from './db-client.js';
import { fromWireEvent } from './event-format.js';
import { knownPosition, type LogPosition, partsOf } from './position.js';

/** Events asked for at once, whatever the caller wants: a page is held in memory twice while it is read. */
const PAGE_EVENTS_MAX = 4_096;
/** The end of the log is looked for in growing pages: usually the last event is ours. */
const HEAD_PAGE_EVENTS_MIN = 8;

export type LogReader = {
  readAll(after: Position, maxCount: number): Promise<RecordedEvent[]>;
  head(): Promise<Position>;
};

/** `timeoutMs` bounds every page. */
export function createLogReader(client: DbClient, timeoutMs: number): LogReader {
  return {
    async readAll(after, maxCount) {
      checkReadCount(maxCount);
      const events: RecordedEvent[] = [];
      let from = partsOf(after);
      while (events.length < maxCount) {
        const pageMax = Math.min(PAGE_EVENTS_MAX, maxCount - events.length + 1);
        const page = await client.readAll({ from, direction: 'forwards', maxCount: pageMax }, timeoutMs);
        const seen = events.at(-1)?.position ?? after;
        for (const stored of page) {
          const event = fromWireEvent(stored);
          if (event !== null && event.position > seen && events.length < maxCount) events.push(event);
        }
        const last = page.at(-1)?.position;
        if (page.length < pageMax || last === undefined || isSamePlace(last, from)) break;
        from = last;
      }
      return events;
    },
    async head() {
      let from: LogPosition | null = null;
      for (let pageMax = HEAD_PAGE_EVENTS_MIN; ; pageMax = Math.min(PAGE_EVENTS_MAX, pageMax * 8)) {
        const page = await client.readAll({ from, direction: 'backwards', maxCount: pageMax }, timeoutMs);
        for (const stored of page) {
          const event = fromWireEvent(stored);
          if (event !== null) return event.position;
        }
        const last: LogPosition | undefined = page.at(-1)?.position;
        if (last === undefined || knownPosition(last) === null || page.length < pageMax || isSamePlace(last, from))
          return BEFORE_EVERYTHING;
        from = last;
      }
    },
  };
}

function isSamePlace(one: LogPosition, other: LogPosition | null): boolean {
  return other !== null && one.commit === other.commit && one.prepare === other.prepare;
}
