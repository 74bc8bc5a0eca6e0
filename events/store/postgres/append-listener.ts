/**
 * Hears of other processes' appends through LISTEN, on a connection of its own that is replaced whenever it is lost. What happens
 * meanwhile is not heard: whoever listens is told of each new connection, and polls besides.
 *
 *     connecting --listening--> listening --connection lost--> waiting --delay--> connecting
 *         \--failed--> waiting                                    close: from anywhere
 */
import type { Pool, PoolClient } from 'pg';
import type { Logger } from 'pino';
import type { Scheduler } from '../../../platform/scheduler.js';
import { APPEND_CHANNEL } from './append-events.js';

const RECONNECT_DELAY_MIN_MS = 50;
const RECONNECT_DELAY_MAX_MS = 2_000;

export type AppendListener = { close(): void };

export type AppendListenerOptions = {
  readonly pool: Pool;
  readonly scheduler: Scheduler;
  readonly logger: Logger;
  /** Called with the transaction id of each append and the server process that ran it. */
  readonly onAppend: (transactionId: string, serverProcess: number) => void;
  /** Called when listening begins anew: something may have been missed. */
  readonly onListening: () => void;
};

export function listenForAppends(options: AppendListenerOptions): AppendListener {
  const { pool, scheduler, logger } = options;
  let isClosed = false;
  let client: PoolClient | null = null;
  let failures = 0;
  let cancelDelay = () => {};

  function lose(error: unknown): void {
    const lost = client;
    client = null;
    lost?.release(true);
    if (isClosed) return;
    const delayMs = Math.min(RECONNECT_DELAY_MAX_MS, RECONNECT_DELAY_MIN_MS * 2 ** Math.min(failures, 10));
    failures += 1;
    logger.warn({ err: error, delayMs }, 'not listening for appends; polling until connected again');
    cancelDelay = scheduler.delay(() => void connect(), delayMs);
  }

  async function connect(): Promise<void> {
    try {
      const fresh = await pool.connect();
      if (isClosed) {
        fresh.release(true);
        return;
      }
      client = fresh;
      const loseThis = (error?: unknown) => {
        if (client === fresh) lose(error);
      };
      fresh.on('error', loseThis);
      fresh.on('end', loseThis);
      fresh.on('notification', ({ payload, processId }) => {
        if (payload !== undefined && !isClosed) options.onAppend(payload, processId);
      });
      await fresh.query(`listen ${APPEND_CHANNEL}`);
      failures = 0;
      options.onListening();
    } catch (error) {
      lose(error);
    }
  }

  void connect();
  return {
    close() {
      isClosed = true;
      cancelDelay();
      client?.release(true);
      client = null;
    },
  };
}
