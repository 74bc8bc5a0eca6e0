/**
 * Remembers the last revision that this API process caused on each account, so that a read which follows a request waits until the views
 * have reached it. Bounded: what was forgotten is read as the views have it.
 */
import { LruMap } from '../limits/lru-map.js';
import type { AccountRevision } from './read-model.js';

/** Accounts written within the last moments; entries go as soon as a read has seen them applied. */
export const REMEMBERED_ACCOUNTS_MAX = 20_000;

/** Accounts of one project that one read waits for: its own and those of its consumers written last. */
export const REMEMBERED_ACCOUNTS_PER_PROJECT_MAX = 50;

export class LastRevisions {
  readonly #byAccount = new LruMap<string, number>(REMEMBERED_ACCOUNTS_MAX);
  readonly #byProject = new LruMap<string, Set<string>>(REMEMBERED_ACCOUNTS_MAX);

  /** Called with the revision of every append this process has caused. `projectId` lets reads over a whole project wait for it too. */
  note(accountId: string, revision: number, projectId?: string): void {
    const known = this.#byAccount.get(accountId);
    if (known === undefined || known < revision) this.#byAccount.set(accountId, revision);
    if (projectId === undefined) return;
    let accounts = this.#byProject.get(projectId);
    if (accounts === undefined) {
      accounts = new Set();
      this.#byProject.set(projectId, accounts);
    }
    // Deleting first moves the account to the end: the oldest is the first to go.
    accounts.delete(accountId);
    accounts.add(accountId);
    if (accounts.size > REMEMBERED_ACCOUNTS_PER_PROJECT_MAX) accounts.delete(accounts.values().next().value as string);
  }

  /** The last revision, or `null` when none is remembered. */
  of(accountId: string): number | null {
    return this.#byAccount.get(accountId) ?? null;
  }

  /** The given accounts, as far as revisions of them are remembered. */
  ofAccounts(accountIds: readonly string[]): AccountRevision[] {
    return accountIds.flatMap((accountId) => {
      const revision = this.of(accountId);
      return revision === null ? [] : [{ accountId, revision }];
    });
  }

  /** The project's accounts with remembered revisions. */
  ofProject(projectId: string): AccountRevision[] {
    return this.ofAccounts([...(this.#byProject.get(projectId) ?? [])]);
  }

  /** The views have reached these revisions: nothing has to wait for them again. */
  seen(revisions: readonly AccountRevision[]): void {
    for (const { accountId, revision } of revisions) {
      const known = this.#byAccount.get(accountId);
      if (known !== undefined && known <= revision) this.#byAccount.delete(accountId);
    }
  }
}
