/**
 * The embedded deployment as a real child process: `farebox start` with its own Postgres in a directory of its own. `FAREBOX_TEST_ENGINE` chooses
 * the engine (`echo` by default).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { waitFor } from '../../platform/testing/wait-for.js';
import { type Books, openBooks } from './books.js';
import type { CommandResult, Deployment, DeploymentOptions, StartOptions, Welcome } from './deployment.js';
import { makeTemporaryDirectory } from './temporary-directory.js';
import { readWelcome } from './welcome-text.js';

export const TEST_ENGINE = process.env['FAREBOX_TEST_ENGINE'] ?? 'echo';

const CLI = fileURLToPath(new URL('../../services/standalone/cli.js', import.meta.url));
const ADMIN_KEY = 'fbx_admin_of_the_tests_0123456789abcdef';
/** Initialising a database, on a machine whose cores are busy. */
const START_TIMEOUT_MS = 60_000;
/** Draining is bounded at 10 s; Postgres then writes a checkpoint. */
const STOP_TIMEOUT_MS = 45_000;

export type EmbeddedDeploymentOptions = DeploymentOptions & {
  /** Where it keeps its files; a temporary directory by default. */
  readonly dataDirectory?: string;
  /** More of the environment, for every start. `undefined` unsets. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
};

export async function createEmbeddedDeployment(options: EmbeddedDeploymentOptions = {}): Promise<EmbeddedDeployment> {
  const directory = await makeTemporaryDirectory();
  return new EmbeddedDeployment(options, options.dataDirectory ?? join(directory.path, 'd'), directory.remove);
}

/** Ended with the tests however those end. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class EmbeddedDeployment implements Deployment {
  readonly adminKey = ADMIN_KEY;
  readonly dataDirectory: string;
  readonly #options: EmbeddedDeploymentOptions;
  readonly #remove: () => Promise<void>;
  #child: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();
  #welcome: Welcome | null = null;
  #printed = '';
  #log = '';

  constructor(options: EmbeddedDeploymentOptions, dataDirectory: string, remove: () => Promise<void>) {
    this.#options = options;
    this.dataDirectory = dataDirectory;
    this.#remove = remove;
  }

  get welcome(): Welcome {
    if (this.#welcome === null) throw new Error('the deployment was not started');
    return this.#welcome;
  }

  get baseUrl(): string {
    return this.welcome.baseUrl;
  }

  get log(): string {
    return this.#log;
  }

  /** What this start has printed for people. */
  get printed(): string {
    return this.#printed;
  }

  get exited(): Promise<void> {
    return this.#exited;
  }

  /** The signal that ended it; `null` while it runs and when it ended by itself. */
  get exitSignal(): NodeJS.Signals | null {
    return this.#child?.signalCode ?? null;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error('the deployment does not run');
    return pid;
  }

  /** Of its Postgres, as that itself has noted; `null` while there is none. */
  get postmasterPid(): number | null {
    try {
      const [pid] = readFileSync(join(this.dataDirectory, 'postgres', 'postmaster.pid'), 'utf8').split('\n');
      return Number(pid);
    } catch {
      return null;
    }
  }

  isRunning(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async start({ failpoint, environment }: StartOptions = {}): Promise<void> {
    if (this.isRunning()) throw new Error('the deployment runs already');
    this.#welcome = null;
    this.#printed = '';
    const more = failpoint === undefined ? {} : { FAREBOX_FAILPOINT: failpoint };
    const child = this.#spawn(['start'], { ...environment, ...more });
    this.#child = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#printed += text;
    });
    const begun = () => {
      this.#welcome ??= readWelcome(this.#printed);
      if (this.#welcome === null && !this.isRunning()) throw new Error(`it ended before it was ready:\n${this.#printed}\n${this.#log}`);
      return this.#welcome !== null;
    };
    await waitFor(begun, { timeoutMs: START_TIMEOUT_MS, describe: () => `the welcome:\n${this.#printed}\n${this.#log}` });
  }

  async stop(): Promise<{ readonly exitCode: number | null }> {
    const child = this.#child;
    if (child === null) return { exitCode: null };
    child.kill('SIGTERM');
    await waitFor(() => !this.isRunning(), { timeoutMs: STOP_TIMEOUT_MS, describe: () => `the end:\n${this.#log}` });
    await this.#exited;
    return { exitCode: child.exitCode };
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exited;
  }

  async command(name: 'verify' | 'rebuild'): Promise<CommandResult> {
    const child = this.#spawn([name], {});
    let output = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    await this.#exitOf(child);
    return { exitCode: child.exitCode, output };
  }

  openBooks(): Promise<Books> {
    return openBooks({ host: join(this.dataDirectory, 'run'), user: 'farebox', database: 'farebox' });
  }

  async dispose(): Promise<void> {
    if (this.isRunning()) {
      // A stopped process takes no other signal.
      this.#child?.kill('SIGCONT');
      this.#child?.kill('SIGTERM');
      const deadline = setTimeout(() => this.#child?.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await this.#exited;
      clearTimeout(deadline);
    }
    await this.#remove();
  }

  #spawn(words: readonly string[], environment: Readonly<Record<string, string | undefined>>): ChildProcess {
    const child = spawn(process.execPath, [CLI, ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: withoutUnset({
        ...process.env,
        NODE_OPTIONS: undefined,
        DATABASE_URL: undefined,
        PORT: '0',
        FAREBOX_DATA_DIR: this.dataDirectory,
        FAREBOX_ENGINE: TEST_ENGINE,
        FAREBOX_PRESET: this.#options.preset ?? 'farebox',
        FAREBOX_ADMIN_KEY: ADMIN_KEY,
        LOG_LEVEL: 'warn',
        ...this.#options.environment,
        ...environment,
      }),
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#log += text;
    });
    running.add(child);
    this.#exited = this.#exitOf(child);
    return child;
  }

  #exitOf(child: ChildProcess): Promise<void> {
    return new Promise((resolve) => {
      // 'close' comes when its output is read to the end too.
      child.once('close', () => {
        running.delete(child);
        resolve();
      });
    });
  }
}

function withoutUnset(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined));
}
