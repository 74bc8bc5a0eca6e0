/**
 * Carries the news of appends between processes with LISTEN and NOTIFY. News is only a hint: subscribers also look by themselves, so a
 * lost connection costs time, never an event.
 */
import { randomBytes } from 'node:crypto';
import type { Pool, PoolClient } from 'pg';
import type { Logger } from 'pino';
import type { Scheduler } from '../../../platform/scheduler.js';
import { BEFORE_EVERYTHING, type Position } from '../../contract/envelope.js';
import { NOTIFY } from './statements.js';

const CHANNEL = 'event_store_appended';
/**
 * News is gathered this long. NOTIFY makes every commit of the database take turns, so it stays out of the appends' transactions and
 * happens at most this often, however many there are.
 */
export const ANNOUNCE_EVERY_MS = 20;
const RECONNECT_DELAY_MIN_MS = 100;
const RECONNECT_DELAY_MAX_MS = 5_000;

export type AppendAnnouncer = {
  /** Tells other processes of an append, soon. */
  announce(position: Position): void;
  /** From now on `onNews` hears of other processes' appends. Holds one connection of the pool. Further calls change nothing. */
  listen(): void;
  close(): void;
};

export function createAppendAnnouncer(options: {
  readonly pool: Pool;
  readonly logger: Logger;
  readonly scheduler: Scheduler;
  readonly onNews: (position: Position) => void;
}): AppendAnnouncer {
  const { pool, logger, scheduler } = options;
  /** Marks this process's own news, which its subscribers know already. */
  const sender = randomBytes(6).toString('hex');
  let newest: Position = BEFORE_EVERYTHING;
  let isGathering = false;
  let isClosed = false;
  let isListening = false;
  let listener: PoolClient | null = null;

  function send(): void {
    isGathering = false;
    if (isClosed) return;
    pool.query({ ...NOTIFY, values: [CHANNEL, `${sender} ${newest}`] }).catch((error: unknown) => {
      logger.debug({ err: error }, 'other processes could not be told of an append');
    });
  }

  function hear(payload: string | undefined): void {
    const [from, position] = (payload ?? '').split(' ');
    if (from !== sender && position !== undefined) options.onNews(position);
  }

  async function connect(failures: number): Promise<void> {
    if (isClosed) return;
    let client: PoolClient | null = null;
    try {
      client = await pool.connect();
      const connected = client;
      const lose = (error: Error) => {
        if (listener !== connected) return;
        listener = null;
        connected.release(error);
        if (isClosed) return;
        logger.warn({ err: error }, 'news of other processes is interrupted; connecting again');
        void connect(0);
      };
      client.on('error', lose);
      client.on('notification', ({ payload }) => hear(payload));
      await client.query(`listen ${CHANNEL}`);
      if (isClosed) return client.release(true);
      listener = client;
      // What was appended between the last news and now may have gone unheard.
      options.onNews(BEFORE_EVERYTHING);
    } catch (error) {
      client?.release(true);
      if (isClosed) return;
      logger.debug({ err: error }, 'no connection for news of other processes');
      const delayMs = Math.min(RECONNECT_DELAY_MAX_MS, RECONNECT_DELAY_MIN_MS * 2 ** Math.min(failures, 10));
      scheduler.delay(() => void connect(failures + 1), delayMs);
    }
  }

  return {
    announce(position) {
      if (position > newest) newest = position;
      if (isGathering) return;
      isGathering = true;
      scheduler.delay(send, ANNOUNCE_EVERY_MS);
    },
    listen() {
      if (isListening) return;
      isListening = true;
      void connect(0);
    },
    close() {
      isClosed = true;
      const client = listener;
      listener = null;
      // A connection that listens must not go back to the pool.
      client?.release(true);
    },
  };
}
