import { describe, expect, test } from '@jest/globals';
import { RevisionWait, WAITING_READERS_MAX } from './revision-wait.js';

const WANTED = [{ accountId: 'acc_a', revision: 5 }];
const LONG_MS = 60_000;

/** Views at a revision that tests move on; every move is signalled when there is a listener. */
function views() {
  let revision = 0;
  let looks = 0;
  const listeners = new Set<() => void>();
  return {
    haveReached: async (wanted: typeof WANTED | readonly { accountId: string; revision: number }[]) => {
      looks += 1;
      return wanted.every((each) => revision >= each.revision);
    },
    onApplied: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    apply: (next: number) => {
      revision = next;
      for (const listener of listeners) listener();
    },
    looks: () => looks,
    listening: () => listeners.size,
  };
}

describe('waiting for revisions', () => {
  test('asks once when the views are there already, and not at all when nothing is wanted', async () => {
    const model = views();
    model.apply(5);
    const wait = new RevisionWait({ ...model, monotonicNowMs: () => 0 });
    expect(await wait.wait(WANTED, LONG_MS)).toBe('current');
    expect(model.looks()).toBe(1);
    expect(await wait.wait([], LONG_MS)).toBe('current');
    expect(model.looks()).toBe(1);
  });

  test('wakes with the commit that reaches them, and stops listening', async () => {
    const model = views();
    const wait = new RevisionWait({ ...model, monotonicNowMs: () => 0 });
    const waiting = wait.wait(WANTED, LONG_MS);
    setImmediate(() => model.apply(4));
    setImmediate(() => setImmediate(() => model.apply(5)));
    expect(await waiting).toBe('current');
    expect(model.listening()).toBe(0);
  });

  test('polls when nobody signals', async () => {
    const model = views();
    const wait = new RevisionWait({ haveReached: model.haveReached, monotonicNowMs: () => 0 });
    const waiting = wait.wait(WANTED, LONG_MS);
    setImmediate(() => model.apply(5));
    expect(await waiting).toBe('current');
  });

  test('gives up at its bound', async () => {
    const model = views();
    const wait = new RevisionWait({ ...model, monotonicNowMs: () => performance.now() });
    const startedMs = performance.now();
    expect(await wait.wait(WANTED, 30)).toBe('stale');
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(29);
    expect(model.listening()).toBe(0);
  });

  test('turns further readers away at once when too many wait', async () => {
    const model = views();
    const wait = new RevisionWait({ ...model, monotonicNowMs: () => 0 });
    const waiting = Array.from({ length: WAITING_READERS_MAX }, () => wait.wait(WANTED, LONG_MS));
    await new Promise((resolve) => setImmediate(resolve));
    expect(await wait.wait(WANTED, LONG_MS)).toBe('stale');
    model.apply(5);
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['current']));
  });
});
