/** Finds files that ship beside the sources (presets, SQL, weights) from compiled code and sources alike. */
import { existsSync } from 'node:fs';

function findPackageRoot(from: URL): URL {
  let directory = new URL('./', from);
  while (!existsSync(new URL('package.json', directory))) {
    const parent = new URL('../', directory);
    if (parent.href === directory.href) throw new Error(`no package.json above ${from.href}`);
    directory = parent;
  }
  return directory;
}

/** Directory of `package.json`, with a trailing slash. */
export const PACKAGE_ROOT: URL = findPackageRoot(new URL(import.meta.url));

/** A file of the repository by its path from the root, such as `presets/hunt.yaml`. */
export function packageFile(path: string): URL {
  return new URL(path, PACKAGE_ROOT);
}
