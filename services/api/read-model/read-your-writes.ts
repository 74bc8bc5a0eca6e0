/** Lets a read that follows a request see it: waits, within a bound, until the views have caught up with what this process caused. */
import type { LastRevisions } from './last-revisions.js';
import type { AccountRevision, ReadModel } from './read-model.js';

/** Longer than the views ever lag in health; shorter than a client's patience. */
export const READ_WAIT_MS_MAX = 2_000;

/** Sent when the answer may miss the newest facts. */
export const STALE_HEADERS: Readonly<Record<string, string>> = { 'X-Read-Model-Lag': 'stale' };
const CURRENT_HEADERS: Readonly<Record<string, string>> = {};

type Views = { readonly readModel: Pick<ReadModel, 'waitForRevisions'>; readonly lastRevisions: LastRevisions };

/** Headers for a read over everything of a project. */
export function catchUpWithProject(views: Views, projectId: string): Promise<Readonly<Record<string, string>>> {
  return catchUp(views, views.lastRevisions.ofProject(projectId));
}

/** Headers for a read of single accounts. */
export function catchUpWithAccounts(views: Views, accountIds: readonly string[]): Promise<Readonly<Record<string, string>>> {
  return catchUp(views, views.lastRevisions.ofAccounts(accountIds));
}

async function catchUp(views: Views, revisions: readonly AccountRevision[]): Promise<Readonly<Record<string, string>>> {
  if (revisions.length === 0) return CURRENT_HEADERS;
  const status = await views.readModel.waitForRevisions(revisions, READ_WAIT_MS_MAX);
  if (status === 'stale') return STALE_HEADERS;
  views.lastRevisions.seen(revisions);
  return CURRENT_HEADERS;
}
