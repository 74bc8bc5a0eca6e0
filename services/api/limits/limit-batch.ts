/** A batch of an instance's counting as `api.count_limits` takes and answers it: projects and their keys, sorted, so that batches lock in one order. */
import type { Pool } from 'pg';
import { requestsWindowMs } from './counts.js';
import type { LimitedCaller } from './limiter.js';
import type { Limits } from './plan-limits.js';
import { SLOTS } from './sliding-window.js';

/** The slot that tokens were counted in, and by how much the count has to change. */
export type Correction = readonly [slot: number, difference: number];

/** What is to be counted of one key. */
export type KeyBatch = {
  readonly caller: LimitedCaller;
  readonly limits: Limits;
  /** How many requests ask to be let in. All are alike, so a number is enough. */
  readonly requests: number;
  /** How many this instance has under way: said anew each time, so that a lost answer puts nothing out of true for long. */
  readonly underWay: number;
  /** Bounds of runs, in the order in which they came. */
  readonly tokens: readonly number[];
  readonly corrections: readonly Correction[];
};

export type KeyAnswer = {
  readonly admitted: number;
  /** Under way in other instances. */
  readonly elsewhere: number;
  /** Which of the bounds were counted. */
  readonly taken: readonly boolean[];
  readonly requests: readonly number[];
  readonly requests_head: number;
  readonly tokens: readonly number[];
  readonly tokens_head: number;
};

export type ProjectAnswer = {
  readonly minute_used: number | null;
  readonly day_used: number | null;
  readonly refilled_at_ms: number | null;
};

export type CountedKey = { readonly batch: KeyBatch; readonly key: KeyAnswer; readonly project: ProjectAnswer };

export type BatchAnswer = {
  readonly status: 'counted';
  /** By the database's clock. */
  readonly nowMs: number;
  /** This instance had been given up; what it has under way has to be said again. */
  readonly lapsed: boolean;
  /** Without those of which nothing was asked. */
  readonly keys: readonly CountedKey[];
};

export type BatchOptions = {
  readonly pool: Pool;
  readonly instanceId: string;
  /** Rises by one from batch to batch; a number that was counted counts nothing again. */
  readonly number: number;
  readonly leaseMs: number;
  /** Instead of the database's clock. */
  readonly nowMs: number | null;
};

type AnswerText = {
  readonly overtaken?: true;
  readonly now_ms: number;
  readonly lapsed: boolean;
  readonly projects: readonly (ProjectAnswer & { readonly keys: readonly (KeyAnswer | null)[] })[];
};

/** `overtaken`: a batch of this number has been counted before, and this one was not. */
export async function countBatch(options: BatchOptions, batches: readonly KeyBatch[]): Promise<BatchAnswer | { status: 'overtaken' }> {
  const projects = groupedByProject(batches);
  const { rows } = await options.pool.query<{ answer: AnswerText }>({
    name: 'api-count-limits',
    text: 'select api.count_limits($1, $2, $3, $4, $5) as answer',
    values: [options.instanceId, options.number, options.leaseMs, options.nowMs, JSON.stringify(projects.map(projectText))],
  });
  const answer = rows[0]?.answer;
  if (answer === undefined) throw new Error('a function returns its value');
  if (answer.overtaken === true) return { status: 'overtaken' };
  const keys = projects.flatMap((group, place) => {
    const project = answer.projects[place];
    return group.flatMap((batch, index) => {
      const key = project?.keys[index];
      if (project === undefined || key === undefined) throw new Error('every key is answered');
      return key === null ? [] : [{ batch, key, project }];
    });
  });
  return { status: 'counted', nowMs: answer.now_ms, lapsed: answer.lapsed, keys };
}

function groupedByProject(batches: readonly KeyBatch[]): KeyBatch[][] {
  const groups = new Map<string, KeyBatch[]>();
  for (const batch of [...batches].sort(inLockOrder)) {
    const group = groups.get(batch.caller.projectId);
    if (group === undefined) groups.set(batch.caller.projectId, [batch]);
    else group.push(batch);
  }
  return [...groups.values()];
}

function inLockOrder({ caller: a }: KeyBatch, { caller: b }: KeyBatch): number {
  if (a.projectId !== b.projectId) return a.projectId < b.projectId ? -1 : 1;
  return a.keyId < b.keyId ? -1 : 1;
}

/** Keys of one project are under one plan. */
function projectText(group: readonly KeyBatch[]) {
  const bucket = group[0]?.limits.token_bucket;
  return {
    id: group[0]?.caller.projectId,
    minute: bucket?.per_minute ?? null,
    day: bucket?.per_day ?? null,
    keys: group.map(({ caller, limits, requests, underWay, tokens, corrections }) => ({
      id: caller.keyId,
      requests,
      burst: limits.sliding_window?.burst ?? null,
      slot_ms: limits.sliding_window === undefined ? null : requestsWindowMs(limits.sliding_window) / SLOTS,
      concurrent: limits.concurrent_requests ?? null,
      under_way: underWay,
      tokens_limit: limits.tokens_per_minute ?? null,
      tokens,
      corrections,
    })),
  };
}
