/**
 * One of several processes does a thing, the others stand by: whoever holds an advisory lock of Postgres leads. The lock ends with its session,
 * so a leader that dies is followed within seconds.
 *
 *     standing by ──lock taken──▶ leading ──session lost, or stopped──▶ standing by
 */
import pg from 'pg';
import type { Logger } from 'pino';
import { Pause } from '../pause.js';

/** How often a process that stands by asks for the lock, and a leader makes sure that it still has it. */
export const LEADERSHIP_CHECK_MS = 1_000;

/** A session whose server does not answer in this time counts as lost. */
const CHECK_TIMEOUT_MS = 5_000;

export type LeadershipOptions = {
  readonly connectionString: string;
  /** The advisory lock that all candidates ask for. */
  readonly lock: number;
  /** Shown in `pg_stat_activity` and in the log. */
  readonly name: string;
  readonly logger: Logger;
  /** Begins the work; called each time the lock has been taken. Rejecting gives the lock back. */
  readonly lead: () => Promise<Leading>;
};

export type Leading = {
  /** Resolves when the work has ended. */
  stop(): Promise<void>;
};

export type Leadership = {
  readonly isLeader: boolean;
  /** Ends the work, if it is ours, and gives up the lock. */
  stop(): Promise<void>;
};

/** Starts to stand by. Never rejects: a server that cannot be reached is asked again. */
export function standForLeadership(options: LeadershipOptions): Leadership {
  const { logger, name } = options;
  let leading: Leading | null = null;
  let isStopped = false;
  const pause = new Pause();
  const untilNextCheck = () => pause.wait(LEADERSHIP_CHECK_MS, { keepsAlive: false });

  const holdOffice = async (client: pg.Client) => {
    leading = await options.lead();
    logger.info({ office: name }, 'leads');
    try {
      while (!isStopped) {
        await untilNextCheck();
        await client.query('select 1');
      }
    } finally {
      const ended = leading;
      leading = null;
      await ended.stop();
    }
  };

  const candidacy = async () => {
    const { connectionString, lock } = options;
    const client = new pg.Client({ connectionString, application_name: name, query_timeout: CHECK_TIMEOUT_MS, keepAlive: true });
    // A lost session shows at the next question.
    client.on('error', () => {});
    try {
      await client.connect();
      while (!isStopped) {
        const { rows } = await client.query<{ isLeader: boolean }>('select pg_try_advisory_lock($1) as "isLeader"', [lock]);
        if (rows[0]?.isLeader === true) return await holdOffice(client);
        await untilNextCheck();
      }
    } finally {
      await client.end().catch(() => {});
    }
  };

  const running = (async () => {
    while (!isStopped) {
      try {
        await candidacy();
      } catch (error) {
        if (!isStopped) logger.warn({ err: error, office: name }, 'leadership lost or not to be had, will try again');
        if (!isStopped) await untilNextCheck();
      }
    }
  })();

  return {
    get isLeader() {
      return leading !== null;
    },
    async stop() {
      isStopped = true;
      pause.end();
      await running;
    },
  };
}
