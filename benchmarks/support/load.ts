/** Loads a server from a process of its own. */
import { fork } from 'node:child_process';
import type { LoadRequest, LoadResult } from './load-generator.js';

export function load(request: LoadRequest): Promise<LoadResult> {
  return new Promise((resolve, reject) => {
    const child = fork(new URL('./load-generator.js', import.meta.url));
    child.once('message', (result) => resolve(result as LoadResult));
    child.once('error', reject);
    child.once('exit', (code) => {
      if (code !== 0) reject(new Error(`load generator ended with ${code}`));
    });
    child.send(request);
  });
}
