/**
 * Tells the kernel to start ARM64 programs with an interpreter, and takes it back. The kernel's side of it is described in its
 * Documentation/admin-guide/binfmt-misc.rst.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const MOUNT_POINT = '/proc/sys/fs/binfmt_misc';
const NAME_PREFIX = 'farebox-arm64-';

/** Start of every 64-bit little-endian ELF file for AArch64 that can be executed, and which of its bits count. */
const MAGIC = '7f454c460201010000000000000000000200b700';
const MASK = 'ffffffffffffff00fffffffffffffffffeffffff';

export type BinfmtEntry = {
  readonly name: string;
  remove(): Promise<void>;
};

/** The entry, or why there is none: no rights, no such file system, or another interpreter is there already. */
export async function registerBinfmt(interpreter: string): Promise<BinfmtEntry | { readonly refused: string }> {
  if (process.getuid?.() !== 0) return { refused: 'registering a binfmt entry needs root' };
  const { directory, unmount } = await binfmtDirectory();
  if (directory === null) return { refused: 'the kernel has no binfmt_misc for this process' };
  const refuse = async (refused: string) => {
    await unmount();
    return { refused };
  };
  const other = await otherEntry(directory);
  if (other !== null) return refuse(`the entry ${other} is there already, and its interpreter does not know our libraries`);
  const name = `${NAME_PREFIX}${process.pid}`;
  const escaped = (hexadecimal: string) => hexadecimal.replace(/../g, '\\x$&');
  try {
    // F: the kernel opens the interpreter now, so the entry holds in every mount namespace.
    await writeFile(join(directory, 'register'), `:${name}:M::${escaped(MAGIC)}:${escaped(MASK)}:${interpreter}:F`);
  } catch (error) {
    return refuse(`the kernel does not take a binfmt entry: ${(error as Error).message}`);
  }
  return {
    name,
    async remove() {
      await removeEntry(directory, name);
      await unmount();
    },
  };
}

async function binfmtDirectory(): Promise<{ readonly directory: string | null; unmount(): Promise<void> }> {
  if (existsSync(join(MOUNT_POINT, 'register'))) return { directory: MOUNT_POINT, async unmount() {} };
  const directory = await mkdtemp(join(tmpdir(), 'farebox-binfmt-'));
  try {
    await run('mount', ['-t', 'binfmt_misc', 'binfmt_misc', directory]);
  } catch {
    await rmdir(directory);
    return { directory: null, async unmount() {} };
  }
  const unmount = async () => {
    await run('umount', [directory]);
    await rmdir(directory);
  };
  return { directory, unmount };
}

/** Name of an entry for ARM64 programs. What a killed run of ours has left is removed. */
async function otherEntry(directory: string): Promise<string | null> {
  for (const name of await readdir(directory)) {
    if (name === 'register' || name === 'status') continue;
    // It may be gone by now.
    const entry = await readFile(join(directory, name), 'utf8').catch(() => '');
    if (!isForArm64(/^magic ([0-9a-f]+)$/m.exec(entry)?.[1] ?? '')) continue;
    const owner = name.startsWith(NAME_PREFIX) ? Number(name.slice(NAME_PREFIX.length)) : null;
    if (owner === null || existsSync(`/proc/${owner}`)) return name;
    await removeEntry(directory, name);
  }
  return null;
}

/** By word size and machine, bytes 4 and 18 of an ELF file; entries differ in which other bytes they ask for. */
function isForArm64(magic: string): boolean {
  return magic.startsWith('7f454c4602') && magic.slice(36, 40) === 'b700';
}

function removeEntry(directory: string, name: string): Promise<void> {
  return writeFile(join(directory, name), '-1');
}
