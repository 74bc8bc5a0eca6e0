/** One stream's append: tried until its outcome is known, and told apart from a conflict when the revision turns out to be taken. */
import type { EventData } from '@eventstore/db-client';
import type { Scheduler } from '../../../platform/scheduler.js';
import type { Position, RecordedEvent } from '../../contract/envelope.js';
import type { AppendResult, StreamAppend } from '../event-store.js';
import { actualRevisionOf, isRefusal, isWrongRevision, type Written } from './db-client.js';
import { toWireEvent } from './event-format.js';
import { knownPosition } from './position.js';

/** Tries of one append before its outcome is given up as unknown. The caller tries again with the same events. */
export const APPEND_ATTEMPTS_MAX = 4;
/** Between tries, doubling; a server that restarts needs some time. */
const RETRY_DELAY_MIN_MS = 50;

export type AppendTools = {
  /** One try. */
  readonly write: (stream: string, expectedRevision: number, events: readonly EventData[]) => Promise<Written>;
  readonly readStream: (stream: string, fromRevision: number, maxCount: number) => Promise<RecordedEvent[]>;
  readonly scheduler: Scheduler;
  /** Told of every try that has to be repeated. */
  readonly onUnknown: (error: unknown, stream: string, attempt: number) => void;
};

export async function appendToStream(tools: AppendTools, append: StreamAppend): Promise<AppendResult> {
  const { stream, expectedRevision } = append;
  const events = append.events.map(toWireEvent);
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { revision, position } = await tools.write(stream, expectedRevision, events);
      // What the server says of a retry's place is that of its first event, or nothing, depending on the version.
      const told = attempt === 1 ? knownPosition(position) : null;
      return { status: 'appended', revision, position: told ?? (await positionAt(tools, stream, revision)), replayed: false };
    } catch (error) {
      if (isWrongRevision(error)) return explainRefusal(tools, append, actualRevisionOf(error));
      if (isRefusal(error) || attempt === APPEND_ATTEMPTS_MAX) throw error;
      tools.onUnknown(error, stream, attempt);
      await new Promise<void>((resume) => tools.scheduler.delay(resume, RETRY_DELAY_MIN_MS * 2 ** (attempt - 1)));
    }
  }
}

/** A batch that already stands where it belongs, id by id, is an earlier try of itself; anything else is a conflict. */
async function explainRefusal(
  tools: AppendTools,
  { stream, expectedRevision, events }: StreamAppend,
  actual: number,
): Promise<AppendResult> {
  const written = await tools.readStream(stream, expectedRevision + 1, events.length);
  const last = written.at(-1);
  const isOurs = written.length === events.length && events.every((event, index) => event.id === written[index]?.id);
  if (isOurs && last !== undefined) return { status: 'appended', revision: last.revision, position: last.position, replayed: true };
  return { status: 'conflict', actualRevision: actual };
}

async function positionAt(tools: AppendTools, stream: string, revision: number): Promise<Position> {
  const [event] = await tools.readStream(stream, revision, 1);
  if (event?.revision !== revision) throw new Error(`event ${revision} of ${stream} was written and cannot be read`);
  return event.position;
}
