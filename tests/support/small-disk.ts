/** A disk of a few megabytes that a test can fill: a tmpfs, which takes root and Linux. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const FILL_NAME = 'filled-by-a-test';
const BLOCK_BYTES = 64 * 1024;
const SMALLEST_BYTES = 512;

export type SmallDisk = {
  readonly path: string;
  /** Writes until there is no byte left. */
  fill(): void;
  /** Gives back what `fill` took. */
  free(): void;
  unmount(): void;
};

/** `null` with the reason where tmpfs cannot be mounted. */
export function mountSmallDisk(directory: string, megabytes: number): SmallDisk | { readonly unavailable: string } {
  const path = join(directory, 'disk');
  mkdirSync(path, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0755`, 'tmpfs', path], { stdio: 'pipe' });
  } catch (error) {
    return { unavailable: `tmpfs cannot be mounted here: ${(error as Error).message.split('\n')[0]}` };
  }
  const filler = join(path, FILL_NAME);
  return {
    path,
    fill: () => fillDisk(filler),
    free: () => rmSync(filler, { force: true }),
    // Lazily: whatever still has a file open there lets go of it when it ends.
    unmount: () => void execFileSync('umount', ['-l', path], { stdio: 'pipe' }),
  };
}

function fillDisk(file: string): void {
  const descriptor = openSync(file, 'a');
  try {
    for (let bytes = BLOCK_BYTES; bytes >= SMALLEST_BYTES; ) {
      try {
        writeSync(descriptor, Buffer.alloc(bytes));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        bytes /= 2;
      }
    }
  } finally {
    closeSync(descriptor);
  }
}
