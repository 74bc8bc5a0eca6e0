/** A test that proves rows of the documents. Its title begins with them, which is how the coverage finds it. */
import { test } from '@jest/globals';

/** `ids`: one or several, separated by blanks. The call must be written out with plain string literals: it is read as text, too. */
export function row(ids: string, title: string, prove: () => Promise<void>, timeoutMs?: number): void {
  test(`${ids}: ${title}`, prove, timeoutMs);
}
