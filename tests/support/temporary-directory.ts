/** A directory for one suite, removed with it. */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type TemporaryDirectory = { readonly path: string; remove(): Promise<void> };

/** The name is kept short: Postgres puts a Unix socket below it, whose path has a hundred characters at most. */
export async function makeTemporaryDirectory(): Promise<TemporaryDirectory> {
  const path = await mkdtemp(join(tmpdir(), 'fbx-'));
  // Open enough for the user that Postgres runs as when the tests run as root.
  await chmod(path, 0o755);
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) };
}
