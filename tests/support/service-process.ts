/** One service of the distributed deployment as a real child process, configured by environment alone. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { waitFor } from '../../platform/testing/wait-for.js';

export type ServiceName = 'api' | 'ledger' | 'projector' | 'inference';

/** A first start migrates, joins groups and loads a model, on a machine whose cores are busy. */
const START_TIMEOUT_MS = 90_000;
const STOP_TIMEOUT_MS = 45_000;

/** Ended with the tests however those end. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class ServiceProcess {
  readonly name: ServiceName;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #printed = '';
  #log = '';

  constructor(name: ServiceName, environment: Readonly<Record<string, string>>) {
    this.name = name;
    const main = fileURLToPath(new URL(`../../services/${name}/main.js`, import.meta.url));
    const { NODE_OPTIONS: _, ...inherited } = process.env;
    this.#child = spawn(process.execPath, [main], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...inherited, ...environment } });
    running.add(this.#child);
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#printed += text;
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#log += text;
    });
    this.#exited = new Promise((resolve) => {
      this.#child.once('close', () => {
        running.delete(this.#child);
        resolve();
      });
    });
  }

  get log(): string {
    return this.#log;
  }

  get url(): string {
    const port = /listens on port (\d+)/.exec(this.#printed)?.[1];
    if (port === undefined) throw new Error(`${this.name} does not listen yet`);
    return `http://127.0.0.1:${port}`;
  }

  get exited(): Promise<void> {
    return this.#exited;
  }

  isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async listening(): Promise<string> {
    const hasBegun = () => {
      if (!this.isRunning()) throw new Error(`${this.name} ended before it listened:\n${this.#log}`);
      return this.#printed.includes('listens on port');
    };
    await waitFor(hasBegun, { timeoutMs: START_TIMEOUT_MS, describe: () => `${this.name} to listen:\n${this.#log}` });
    return this.url;
  }

  async ready(): Promise<void> {
    await this.listening();
    let last = '';
    const isReady = async () => {
      if (!this.isRunning()) throw new Error(`${this.name} ended:\n${this.#log}`);
      const response = await fetch(`${this.url}/readyz`);
      last = await response.text();
      return response.status === 200;
    };
    await waitFor(isReady, { timeoutMs: START_TIMEOUT_MS, describe: () => `${this.name} to be ready: ${last}\n${this.#log}` });
  }

  /** Whether it has been stopped (SIGSTOP), as Linux tells it. */
  isFrozen(): boolean {
    try {
      const [, state] = /\) (\S)/.exec(readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8')) ?? [];
      return state === 'T';
    } catch {
      return false;
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async stop(): Promise<number | null> {
    this.#child.kill('SIGTERM');
    await waitFor(() => !this.isRunning(), { timeoutMs: STOP_TIMEOUT_MS, describe: () => `${this.name} to end:\n${this.#log}` });
    await this.#exited;
    return this.#child.exitCode;
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}
